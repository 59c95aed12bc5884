//! `labelstream drift`: whether the stream still looks as it did when the champion began to serve.

use anyhow::Context as _;
use chrono::Utc;
use serde_json::Value;
use service::DatabaseArguments;
use store::{DriftHour, Version};
use trainer::service::look;

use crate::print;

/// Flags of `labelstream drift`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,

    /// The version whose hours are shown [default: the champion]
    #[arg(long)]
    version: Option<i64>,

    /// Hours to show, the newest first
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=2400))]
    hours: u32,

    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let store = arguments.database.connect().await?;
    let version = match arguments.version {
        Some(version) => Version(version),
        None => store.champion().await?.context("no version serves: there is nothing to compare")?.version,
    };
    look(&store, version, Utc::now(), i64::from(arguments.hours)).await?;
    let hours = store.drift_hours(Some(version), arguments.hours).await?;
    if arguments.json {
        return print::json(&hours);
    }
    if hours.is_empty() {
        println!("too little was seen: version {version} needs an hour with 400 predictions, then one with 200");
        return Ok(());
    }
    println!("version {version}, against what it saw first; ! is large and no chance");
    let header = ["HOUR (UTC)", "SEEN", "EXPECTED ACCURACY", "CLASSES", "SCORES", "LENGTHS", "UNKNOWN"];
    print::table(header, &hours.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn row(hour: &DriftHour) -> [String; 7] {
    let change = |of: &str| {
        let size = hour.changes.get(of).and_then(|change| change.get("size")).and_then(Value::as_f64).unwrap_or(0.0);
        format!("{size:.3}{}", if hour.alarms.iter().any(|alarm| alarm == of) { "!" } else { "" })
    };
    [
        hour.hour.format("%F %H:%M").to_string(),
        print::grouped(hour.predictions),
        format!("{:.1}%", 100.0 * hour.expected_accuracy),
        change("classes"),
        change("scores"),
        change("lengths"),
        change("unknown"),
    ]
}
