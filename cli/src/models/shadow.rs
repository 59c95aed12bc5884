//! `labelstream models shadow`: a challenger that scores a share of the stream beside the champion.

use std::str::FromStr;

use serde_json::json;
use service::DatabaseArguments;
use store::{ShadowCount, Store, Version};

use crate::print;

/// Flags of `labelstream models shadow`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A version, which is to score a share of the stream from now on; `stop`; or `result`, what it
    /// and the champion said
    #[arg(value_name = "VERSION|stop|result")]
    what: What,

    /// Share of the records, and the most of the model's time, that it may have: above 0, at most 1
    #[arg(long, default_value_t = 0.1, value_parser = service::share)]
    share: f64,

    /// Why, for the record.
    #[arg(long, default_value = "by hand")]
    why: String,

    #[command(flatten)]
    database: DatabaseArguments,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Start(i64),
    Stop,
    Result,
}

impl FromStr for What {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "stop" => Ok(Self::Stop),
            "result" => Ok(Self::Result),
            number => number.parse().map(Self::Start).map_err(|_| "expected a version, stop or result".to_owned()),
        }
    }
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let store = arguments.database.connect().await?;
    match arguments.what {
        What::Start(version) => {
            let shadow = store.start_shadow(Version(version), arguments.share, &arguments.why).await?;
            if arguments.json {
                return print::json(&shadow);
            }
            println!("version {version} scores {:.0}% of the stream beside the champion", 100.0 * shadow.share);
            Ok(())
        }
        What::Stop => {
            let stopped = store.stop_shadow().await?;
            if arguments.json {
                return print::json(&stopped);
            }
            println!(
                "{}",
                stopped.map_or("no version shadows".to_owned(), |shadow| format!(
                    "version {} shadows no more",
                    shadow.version
                ))
            );
            Ok(())
        }
        What::Result => result(&store, arguments.json).await,
    }
}

async fn result(store: &Store, json: bool) -> anyhow::Result<()> {
    let Some(shadow) = store.last_shadow(None).await? else {
        anyhow::bail!("no version has shadowed the champion: `labelstream models shadow VERSION` begins it");
    };
    let counts = store.shadow_counts(shadow.id).await?;
    let sum = |of: fn(&ShadowCount) -> i64| counts.iter().map(of).sum::<i64>();
    let agree: i64 = counts.iter().filter(|count| count.label == count.champion_label).map(|count| count.records).sum();
    let (records, labeled) = (sum(|count| count.records), sum(|count| count.labeled));
    let (champion, challenger) = (sum(|count| count.champion_right), sum(|count| count.challenger_right));
    let share = |part: i64, of: i64| if of == 0 { None } else { Some(part as f64 / of as f64) };
    if json {
        return print::json(&json!({
            "shadow": shadow, "records": records, "agreement": share(agree, records), "labeled": labeled,
            "champion_right": champion, "challenger_right": challenger, "counts": counts,
        }));
    }
    let percent = |share: Option<f64>| share.map_or("?".to_owned(), |share| format!("{:.1}%", 100.0 * share));
    println!(
        "version {} since {}{}: {} records, it agrees with the champion on {}",
        shadow.version,
        shadow.started_at.format("%F %T UTC"),
        shadow.stopped_at.map_or(String::new(), |at| format!(" until {}", at.format("%F %T UTC"))),
        print::grouped(records),
        percent(share(agree, records)),
    );
    println!("of {labeled} that people have labeled, it is right on {challenger} and the champion on {champion}");
    let row = |count: &ShadowCount| {
        [
            print::visible(&count.champion_label).into_owned(),
            print::visible(&count.label).into_owned(),
            print::grouped(count.records),
            count.labeled.to_string(),
        ]
    };
    if !counts.is_empty() {
        println!();
        print::table(["CHAMPION", "CHALLENGER", "RECORDS", "LABELED"], &counts.iter().map(row).collect::<Vec<_>>());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_version_or_a_word() {
        assert_eq!(
            ("3".parse(), "stop".parse(), "result".parse()),
            (Ok(What::Start(3)), Ok(What::Stop), Ok(What::Result))
        );
        assert!("champion".parse::<What>().is_err());
    }
}
