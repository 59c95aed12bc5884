//! What the trainer stands on: its base, its directory, the right to publish, and the rounds that
//! it leaves behind.

use std::path::Path;

use anyhow::Result;
use chrono::{TimeDelta, Utc};
use classifier::{Classes, checkpoint};
use store::checkpoints::CheckpointStore;
use store::{LoadStatus, Model, Store, Verdict};
use trainer::Base;

use super::{Arguments, Finding};
use crate::rounds;

/// A request that is older than this was not heard: trainers look every few seconds.
const HEARD_WITHIN: TimeDelta = TimeDelta::minutes(1);

/// The trainer's places.
pub async fn places(arguments: &Arguments) -> Vec<Finding> {
    let mut findings = vec![base(arguments.base.clone()).await, work(arguments.work.as_deref())];
    if let Some(url) = &arguments.checkpoints {
        findings.push(publishing(url).await);
    }
    findings
}

async fn base(base: Base) -> Finding {
    let Base::Checkpoint(directory) = &base else {
        return Finding::ok("base", format!("{base}: the trainer starts from the labels alone"));
    };
    let shown = directory.display().to_string();
    let directory = directory.clone();
    let opened = tokio::task::spawn_blocking(move || open_base(&directory)).await;
    match opened.map_err(anyhow::Error::from).and_then(|opened| opened) {
        Ok(()) => Finding::ok("base", format!("{shown} can be fine-tuned")),
        Err(error) => Finding::fail(
            "base",
            error.context(shown),
            "--base names a checkpoint directory: config.json, the weights, tokenizer.json or vocab.txt",
        ),
    }
}

fn work(directory: Option<&Path>) -> Finding {
    let advice = "--work names a directory for the state of a running round";
    let directory = match service::directories::work(directory) {
        Ok(directory) => directory,
        Err(error) => return Finding::fail("work", error, advice),
    };
    let shown = directory.display();
    match tempfile::tempfile_in(&directory) {
        Ok(_) => Finding::ok("work", format!("{shown} can be written")),
        Err(error) => Finding::fail("work", anyhow::Error::from(error).context(shown.to_string()), advice),
    }
}

async fn publishing(url: &str) -> Finding {
    let written = async { Ok::<_, anyhow::Error>(CheckpointStore::open(url)?.try_writing().await?) };
    match written.await {
        Ok(()) => Finding::ok("publishing", format!("{url} can be written")),
        // Consumers only read: theirs may be an account that cannot write.
        Err(error) => Finding::warn("publishing", format!("{error:#}"), "the trainer needs to write here"),
    }
}

/// What the tables tell of trainers and consumers.
pub async fn news(store: &Store, champion: Option<&Model>) -> Vec<Finding> {
    let training = training(store).await;
    let training =
        training.unwrap_or_else(|error| Finding::fail("training", error, "may the account read the tables?"));
    let mut findings = vec![training];
    if let Some(champion) = champion {
        let serving = serving(store, champion).await;
        findings.extend(
            serving.unwrap_or_else(|error| vec![Finding::fail("serving", error, "may the account read the tables?")]),
        );
    }
    findings
}

async fn training(store: &Store) -> Result<Finding> {
    let new_labels = store.new_labels().await?;
    let waiting = format!("{new_labels} labels since the last round");
    if let Some(request) = store.open_request().await?.filter(|it| it.requested_at < Utc::now() - HEARD_WITHIN) {
        let asked = format!("nobody has begun the round asked for at {}", request.requested_at.format("%F %T UTC"));
        return Ok(Finding::warn("training", asked, "is a trainer running on this database?"));
    }
    let Some(round) = store.last_round().await? else {
        return Ok(Finding::ok("training", format!("no round yet; {waiting}")));
    };
    let told = format!("round {}: {}", round.round, rounds::outcome(&round));
    Ok(match round.verdict {
        None if round.lease_until.is_none_or(|until| until < Utc::now()) => Finding::warn(
            "training",
            format!("{told}, but nobody works on it"),
            "the next trainer to start takes it over",
        ),
        Some(Verdict::Abandoned) => Finding::warn(
            "training",
            format!("{told}: {}", round.reason.as_deref().unwrap_or("no reason given")),
            "when that is mended, `labelstream retrain` asks for another",
        ),
        _ => Finding::ok("training", format!("{told}; {waiting}")),
    })
}

/// Refusals of the champion.
async fn serving(store: &Store, champion: &Model) -> Result<Vec<Finding>> {
    let reports = store.load_reports().await?;
    let refused = reports.iter().filter(|it| it.version == champion.version && it.status == LoadStatus::Refused);
    let told = refused.map(|report| {
        let reason = report.reason.as_deref().unwrap_or("no reason given");
        let told = format!("consumer {} refused version {}: {reason}", report.consumer, report.version);
        Finding::fail("serving", told, "`labelstream models rollback` makes the champion before it champion again")
    });
    Ok(told.collect())
}

/// For classes that no base has: it gets a new head, as in a round with new classes.
fn open_base(directory: &Path) -> Result<()> {
    checkpoint::Base::open(directory, &Classes::new(["one class", "another"]), None, 0)?;
    Ok(())
}
