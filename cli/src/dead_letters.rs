//! `labelstream dead-letters`: the records that could not become reviews.

use std::process::ExitCode;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use service::{DatabaseArguments, KafkaArguments, broker};
use store::{DeadLetter, DeadLetterFilter};
use tokio_util::sync::CancellationToken;

use crate::print;

/// What to do with dead letters.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List them, newest first.
    List {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        database: DatabaseArguments,
        /// Show at most this many.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Publish dead letters again, byte for byte: key, value and headers. They stay on record, marked as
    /// replayed once a broker has acknowledged them.
    ///
    /// Of several people who replay the same letters at once, one publishes each of them. A replay
    /// that is killed after it has published, and before it has marked, leaves up to 200 letters that
    /// the next replay publishes a second time.
    Replay {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        database: DatabaseArguments,
        #[command(flatten)]
        kafka: KafkaArguments,
        /// Publish to this topic instead of the one that each record came from.
        #[arg(long)]
        to_topic: Option<String>,
        /// Publish at most this many, the oldest first.
        #[arg(long)]
        limit: Option<u32>,
        /// Also those that were already replayed.
        #[arg(long)]
        again: bool,
        /// Only say what would be published.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Which dead letters.
#[derive(clap::Args)]
pub struct Filter {
    /// Only of this pipeline.
    #[arg(long, env = "LABELSTREAM_PIPELINE")]
    pipeline: Option<String>,
    /// Only from this topic.
    #[arg(long, env = "LABELSTREAM_TOPIC")]
    topic: Option<String>,
    /// Only with this reason, such as not_json.
    #[arg(long)]
    reason: Option<String>,
    /// Only since this time (2026-11-22T10:00:00Z), or within this age (90m, 24h, 7d).
    #[arg(long, value_parser = since)]
    since: Option<DateTime<Utc>>,
}

impl Filter {
    fn limited(self, limit: Option<u32>) -> DeadLetterFilter {
        let Self { pipeline, topic, reason, since } = self;
        DeadLetterFilter { pipeline, topic, reason, since, unreplayed: false, limit }
    }
}

fn since(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let ago = text.char_indices().last().and_then(|(end, unit)| {
        let number: i64 = text[..end].parse().ok().filter(|number| *number >= 0)?;
        let length = match unit {
            's' => TimeDelta::try_seconds(number),
            'm' => TimeDelta::try_minutes(number),
            'h' => TimeDelta::try_hours(number),
            'd' => TimeDelta::try_days(number),
            _ => None,
        };
        Utc::now().checked_sub_signed(length?)
    });
    ago.ok_or_else(|| "expected a time such as 2026-11-22T10:00:00Z, or an age such as 90m, 24h or 7d".to_owned())
}

/// Runs the command.
pub async fn run(command: Command, shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
    match command {
        Command::List { filter, database, limit, json } => {
            let filter = filter.limited(Some(limit));
            let look = async { anyhow::Ok(database.connect().await?.dead_letters(&filter).await?) };
            let Some(found) = shutdown.run_until_cancelled(look).await else { return Ok(service::interrupted()) };
            if json { list_as_json(&found?)? } else { list(&found?, limit)? }
        }
        Command::Replay { filter, database, kafka, to_topic, limit, again, dry_run } => {
            let store = database.connect().await?;
            let filter = DeadLetterFilter { unreplayed: !again, ..filter.limited(limit) };
            let mut letters = store.dead_letters(&filter).await?;
            letters.reverse();
            if dry_run {
                list(&letters, u32::MAX)?;
                println!("nothing was published: --dry-run");
                return Ok(ExitCode::SUCCESS);
            }
            let replay = broker::replay(&store, &kafka, &letters, to_topic.as_deref(), &shutdown);
            let done = replay.await.context("replay")?;
            println!("replayed {} dead letters", done.replayed);
            if done.passed_over > 0 {
                println!("passed over {}: somebody else replays them, or has, or they are gone", done.passed_over);
            }
            if shutdown.is_cancelled() {
                return Ok(service::interrupted());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(letters: &[DeadLetter], limit: u32) -> anyhow::Result<()> {
    if letters.is_empty() {
        println!("no dead letters");
        return Ok(());
    }
    let rows: Vec<_> = letters
        .iter()
        .map(|letter| {
            let id = &letter.id;
            [
                letter.failed_at.format("%F %T").to_string(),
                format!("{}/{}/{}", id.stream.topic, id.partition, id.kafka_offset),
                letter.reason.clone(),
                letter.payload_bytes.map_or("none".to_owned(), print::grouped),
                letter.replayed_at.map_or(String::new(), print::ago),
                print::shortened(&letter.detail, 60),
            ]
        })
        .collect();
    print::table(["FAILED (UTC)", "TOPIC/PARTITION/OFFSET", "REASON", "BYTES", "REPLAYED", "DETAIL"], &rows);
    if letters.len() == limit as usize {
        println!("there may be more: --limit");
    }
    Ok(())
}

fn list_as_json(letters: &[DeadLetter]) -> anyhow::Result<()> {
    for letter in letters {
        let id = &letter.id;
        print::json(&serde_json::json!({
            "pipeline": id.stream.pipeline, "cluster_id": id.stream.cluster_id, "topic": id.stream.topic,
            "partition": id.partition, "kafka_offset": id.kafka_offset, "record_time": letter.record_time,
            "reason": letter.reason, "detail": letter.detail, "payload_bytes": letter.payload_bytes,
            "failed_at": letter.failed_at, "replayed_at": letter.replayed_at,
        }))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_a_time_or_an_age() {
        assert_eq!(since("2026-11-22T10:00:00Z").unwrap().timestamp(), 1_795_341_600);
        let two_hours = Utc::now() - since("2h").unwrap();
        assert!((two_hours - TimeDelta::hours(2)).num_seconds().abs() < 5);
        for wrong in ["", "h", "-2h", "2 weeks", "yesterday", "两h", "99999999999999999d"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
