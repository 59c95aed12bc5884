//! `labelstream rounds`: each retraining, from what started it to its verdict.

mod show;

use serde_json::Value;
use service::DatabaseArguments;
use store::{Round, Store};

pub use show::show;

use crate::print;

/// What to look at.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List the rounds, newest first.
    List {
        #[command(flatten)]
        database: DatabaseArguments,
        /// Show at most this many.
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Show one round: its progress, or its verdict with the evidence.
    Show {
        /// The round.
        round: i64,
        #[command(flatten)]
        database: DatabaseArguments,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { database, limit, json } => list(&database.connect().await?, limit, json).await,
        Command::Show { round, database, json } => {
            let round = database.connect().await?.round(round).await?;
            if json { print::json(&round) } else { show(&round) }
        }
    }
}

async fn list(store: &Store, limit: u32, json: bool) -> anyhow::Result<()> {
    let rounds = store.rounds(limit).await?;
    if json {
        return print::json(&rounds);
    }
    if rounds.is_empty() {
        println!("no round yet: `labelstream retrain` asks the trainer for one");
        return Ok(());
    }
    let rows: Vec<_> = rounds
        .iter()
        .map(|round| {
            [
                round.round.to_string(),
                word(round.trigger),
                round.started_at.format("%F %T").to_string(),
                outcome(round),
                round.candidate.map_or(String::new(), |version| version.to_string()),
                accuracy(round.candidate_metrics.as_ref()),
                accuracy(round.champion_metrics.as_ref()),
                accuracy(round.baseline_metrics.as_ref()),
                print::shortened(round.reason.as_deref().unwrap_or_default(), 60),
            ]
        })
        .collect();
    let header =
        ["ROUND", "TRIGGER", "STARTED (UTC)", "VERDICT", "CANDIDATE", "ACCURACY", "CHAMPION'S", "LINEAR'S", "REASON"];
    print::table(header, &rows);
    Ok(())
}

/// The verdict; of a round that has none yet, how far it is.
pub fn outcome(round: &Round) -> String {
    round.verdict.map_or_else(|| progress(round), word)
}

/// A trigger or a verdict as the database writes it.
fn word(word: impl serde::Serialize) -> String {
    serde_json::json!(word).as_str().unwrap_or_default().to_owned()
}

/// Phase and share, as far as the trainer tells.
pub fn progress(round: &Round) -> String {
    let told = round.progress.as_ref().unwrap_or(&Value::Null);
    let phase = told["phase"].as_str().unwrap_or("running");
    match (told["step"].as_f64(), told["steps"].as_f64()) {
        (Some(step), Some(steps)) if steps > 0.0 => format!("{phase} {:.0}%", 100.0 * step / steps),
        _ => phase.to_owned(),
    }
}

/// As a table shows it; empty where it was not measured.
pub fn accuracy(metrics: Option<&Value>) -> String {
    let accuracy = metrics.and_then(|metrics| metrics["accuracy"].as_f64());
    accuracy.map_or(String::new(), |accuracy| format!("{accuracy:.4}"))
}
