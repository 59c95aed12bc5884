//! `labelstream retrain`: asks the trainer for a round.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Map, Value, json};
use store::{Round, Store, Verdict};
use trainer::service::From;

use crate::{print, rounds};
use service::DatabaseArguments;

/// Flags of `labelstream retrain`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,

    /// What the round starts from; without it, what the trainer's settings say.
    #[arg(long, value_enum)]
    from: Option<From>,

    /// Who asks, for the record.
    #[arg(long, value_name = "NAME", default_value = "labelstream retrain")]
    requested_by: String,

    /// Follow the round to its verdict.
    #[arg(long)]
    wait: bool,

    /// Print one JSON object: the request, or with --wait the round.
    #[arg(long)]
    json: bool,
}

/// How often the database is asked for news of the round.
const EVERY: Duration = Duration::from_millis(500);

/// Runs the command.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let store = arguments.database.connect().await?;
    let request = store.request_round(&parameters(&arguments), &arguments.requested_by).await?;
    if !arguments.wait {
        if arguments.json {
            return print::json(&json!({"request": request}));
        }
        println!(
            "asked for a round (request {request}); `labelstream rounds list` shows it when a trainer has begun it"
        );
        return Ok(());
    }
    eprintln!("asked for a round (request {request}); waiting for a trainer to begin it");
    let round = follow(&store, request).await?;
    if arguments.json {
        print::json(&round)?;
    } else {
        rounds::show(&round)?;
    }
    ensure!(round.verdict != Some(Verdict::Abandoned), "round {} was given up", round.round);
    Ok(())
}

fn parameters(arguments: &Arguments) -> Value {
    let given = [("from", arguments.from.map(|from| json!(from)))];
    Value::Object(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>())
}

/// Waits for the request's round and for its verdict.
async fn follow(store: &Store, request: i64) -> anyhow::Result<Round> {
    let progress = print::progress_bar(None, "{spinner} {msg}, {elapsed}");
    loop {
        if let Some(number) = store.round_request(request).await?.and_then(|request| request.round) {
            let round = store.round(number).await?;
            if round.verdict.is_some() {
                progress.finish_and_clear();
                return Ok(round);
            }
            progress.set_message(format!("round {number}: {}", rounds::progress(&round)));
        }
        progress.tick();
        tokio::time::sleep(EVERY).await;
    }
}
