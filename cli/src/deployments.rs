//! `labelstream deployments`: which version was live, from when until when, and why.

use chrono::{DateTime, Utc};
use serde_json::json;
use store::Deployment;

use crate::print;
use service::DatabaseArguments;

/// Flags of `labelstream deployments`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,

    /// Show at most this many, the newest first.
    #[arg(long, default_value_t = 50)]
    limit: usize,

    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let deployments = arguments.database.connect().await?.deployments().await?;
    let shown: Vec<_> = with_ends(&deployments).take(arguments.limit).collect();
    if arguments.json {
        let as_json = |(deployment, until): &(&Deployment, Option<DateTime<Utc>>)| {
            json!({
                "version": deployment.version, "from": deployment.deployed_at, "until": until, "why": deployment.why,
            })
        };
        return print::json(&shown.iter().map(as_json).collect::<Vec<_>>());
    }
    if shown.is_empty() {
        println!("no version was ever live: `labelstream models promote V` makes one the champion");
        return Ok(());
    }
    let time = |time: DateTime<Utc>| time.format("%F %T").to_string();
    let row = |(deployment, until): &(&Deployment, Option<DateTime<Utc>>)| {
        [
            deployment.version.to_string(),
            time(deployment.deployed_at),
            until.map_or("now".to_owned(), time),
            deployment.why.clone(),
        ]
    };
    print::table(["VERSION", "FROM (UTC)", "UNTIL (UTC)", "WHY"], &shown.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

/// Each deployment, newest first, with the time at which the next one followed.
fn with_ends(deployments: &[Deployment]) -> impl Iterator<Item = (&Deployment, Option<DateTime<Utc>>)> {
    let followed = deployments.iter().map(|next| Some(next.deployed_at));
    deployments.iter().zip(std::iter::once(None).chain(followed))
}
