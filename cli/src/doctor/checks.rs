//! The checks, in the order in which a deployment needs them.

use std::path::PathBuf;

use chrono::{TimeDelta, Utc};
use classifier::{Classifier, Device};
use store::checkpoints::CheckpointStore;
use store::{Model, Schema, Store, StoreError};
use tempfile::TempDir;

use super::{Arguments, Finding, kafka, places, training};

/// Clocks that differ by more make rates, lags and leases hard to read.
const APART: TimeDelta = TimeDelta::seconds(2);

/// Everything; a check that makes no sense after a failed one is left out.
pub async fn all(arguments: &Arguments) -> Vec<Finding> {
    let mut findings = kafka::all(arguments).await;
    let store = database(arguments, &mut findings).await;
    let champion = match &store {
        Some(store) => champion(store, &mut findings).await,
        None => None,
    };
    findings.extend(model(arguments, champion.as_ref()).await);
    findings.extend(training::places(arguments).await);
    findings.extend(places::disks(arguments));
    if let Some(store) = &store {
        findings.extend(training::news(store, champion.as_ref()).await);
    }
    findings
}

async fn database(arguments: &Arguments, findings: &mut Vec<Finding>) -> Option<Store> {
    let Some(url) = &arguments.database_url else {
        findings.push(Finding::warn("database", "not given", "--database-url or LABELSTREAM_DATABASE_URL"));
        return None;
    };
    let connected = async {
        let store = Store::connect(url.expose(), 1).await?;
        let version = store.server_version().await?;
        Ok::<_, StoreError>((store, version))
    };
    let store = match connected.await {
        Ok((store, version)) => {
            findings.push(reached(&store, &version));
            findings.push(clock(&store).await);
            store
        }
        Err(error) => {
            let advice = match error {
                StoreError::Unavailable(_) => "is Postgres running there, and reachable from here?",
                StoreError::Pooled(_) => "set pool_mode = session for this database, or go past the pooler",
                _ => "check the user, the password and the database of the URL",
            };
            findings.push(Finding::fail("database", error, advice));
            return None;
        }
    };
    match store.check_schema().await {
        Ok(Schema::Current) => findings.push(Finding::ok("migrations", "all applied")),
        Ok(Schema::Newer { by }) => findings.push(Finding::warn(
            "migrations",
            format!("the database is {by} migrations ahead of this program"),
            "upgrade this program when you can",
        )),
        Err(error) => {
            findings.push(Finding::fail("migrations", error, "run `labelstream migrate`"));
            return None;
        }
    }
    let pipeline = arguments.pipeline.as_ref().unwrap_or(&arguments.group);
    match store.other_pipelines(&arguments.topic, pipeline).await {
        Ok(others) if !others.is_empty() => findings.push(Finding::warn(
            "pipeline",
            format!("topic {} is also read under the name {}, not only {pipeline}", arguments.topic, others.join(", ")),
            "a consumer under a new name begins anew: give --group or --pipeline the name that it had, if that is not meant",
        )),
        Ok(_) => findings.push(Finding::ok("pipeline", format!("positions are kept under {pipeline}"))),
        Err(error) => findings.push(Finding::warn("pipeline", error.to_string(), "which other names read the topic is not known")),
    }
    Some(store)
}

fn reached(store: &Store, version: &str) -> Finding {
    if store.has_pooler() {
        return Finding::warn(
            "database",
            format!("PostgreSQL {version} answers behind a pooler, such as PgBouncer"),
            "it works as long as each session has its connection; give the pool as many as all consumers and trainers take",
        );
    }
    Finding::ok("database", format!("PostgreSQL {version} answers"))
}

async fn clock(store: &Store) -> Finding {
    let before = Utc::now();
    match store.clock().await {
        Ok(there) => {
            // Whatever the answer took is no difference.
            let apart = if there < before { before - there } else { (there - Utc::now()).max(TimeDelta::zero()) };
            if apart > APART {
                let told = format!("the clocks of this machine and of Postgres are {} s apart", apart.num_seconds());
                return Finding::warn("clocks", told, "have NTP set both: leases, lags and times of labels go by them");
            }
            Finding::ok("clocks", "this machine and Postgres agree")
        }
        Err(error) => Finding::fail("clocks", error, "may the account ask the server anything?"),
    }
}

async fn champion(store: &Store, findings: &mut Vec<Finding>) -> Option<Model> {
    match store.champion().await {
        Ok(Some(model)) => {
            let detail = format!("version {}: {}", model.version, model.labels.join(", "));
            findings.push(Finding::ok("champion", detail));
            Some(model)
        }
        Ok(None) => {
            let advice = "the consumers wait for one: `labelstream models register DIR --promote`";
            findings.push(Finding::warn("champion", "none yet", advice));
            None
        }
        Err(error) => {
            findings.push(Finding::fail("champion", error, "may the account read the tables?"));
            None
        }
    }
}

/// The checkpoint store, read through the champion; the device, tried with the champion.
async fn model(arguments: &Arguments, champion: Option<&Model>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let fetched = match &arguments.checkpoints {
        None => {
            findings.push(Finding::warn("checkpoints", "not given", "--checkpoints or LABELSTREAM_CHECKPOINTS"));
            None
        }
        Some(url) => match checkpoint(url, champion).await {
            Ok((directory, detail)) => {
                findings.push(Finding::ok("checkpoints", detail));
                directory
            }
            Err(error) => {
                let advice = "does --checkpoints name the store that the champion was registered in?";
                findings.push(Finding::fail("checkpoints", error, advice));
                None
            }
        },
    };
    let choice = arguments.device;
    let tried = tokio::task::spawn_blocking(move || {
        let device = choice.open()?;
        let name = if matches!(device, Device::Cpu) { "cpu" } else { "cuda" };
        let Some(fetched) = fetched else {
            return Ok(format!("{name} opens"));
        };
        let champion = Classifier::open(&fetched.directory, &device)?;
        champion.canary()?;
        let (kind, engine, pace) = (champion.kind(), champion.engine(), champion.measure_pace()?);
        Ok(format!("{name} runs the champion: {kind}, {engine}, {}, {pace:.0} texts/s", champion.precision()))
    });
    findings.push(match tried.await.map_err(anyhow::Error::from).and_then(|tried: anyhow::Result<String>| tried) {
        Ok(detail) => Finding::ok("device", detail),
        Err(error) => {
            Finding::fail("device", error, "--device cpu runs everywhere; cuda needs a build with the feature `cuda`")
        }
    });
    findings
}

/// A checkpoint, for as long as the check lasts.
struct Fetched {
    directory: PathBuf,
    _cache: TempDir,
}

async fn checkpoint(url: &str, champion: Option<&Model>) -> anyhow::Result<(Option<Fetched>, String)> {
    let store = CheckpointStore::open(url)?;
    let Some(champion) = champion else {
        return Ok((None, format!("{url} opens")));
    };
    let cache = tempfile::tempdir()?;
    let directory = service::checkpoint::fetch(&store, champion, cache.path()).await?;
    Ok((
        Some(Fetched { directory, _cache: cache }),
        format!("{url} holds version {}, every hash as registered", champion.version),
    ))
}
