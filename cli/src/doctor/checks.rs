//! The checks, in the order in which a deployment needs them.

use std::path::PathBuf;
use std::time::Duration;

use classifier::{Classifier, Device};
use service::KafkaArguments;
use store::checkpoints::CheckpointStore;
use store::{Model, Schema, Store, StoreError};
use tempfile::TempDir;

use super::{Arguments, Finding, training};
use service::broker::Cluster;

/// A consumer that stands still for longer than Kafka keeps records loses some.
const SHORT_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// Everything; a check that makes no sense after a failed one is left out.
pub async fn all(arguments: &Arguments) -> Vec<Finding> {
    let mut findings = kafka(arguments).await;
    let store = database(arguments, &mut findings).await;
    let champion = match &store {
        Some(store) => champion(store, &mut findings).await,
        None => None,
    };
    findings.extend(model(arguments, champion.as_ref()).await);
    findings.extend(training::places(arguments).await);
    if let Some(store) = &store {
        findings.extend(training::news(store, champion.as_ref()).await);
    }
    findings
}

async fn kafka(arguments: &Arguments) -> Vec<Finding> {
    let Some(brokers) = arguments.brokers.clone() else {
        return vec![Finding::warn("brokers", "not given", "--brokers or LABELSTREAM_BROKERS")];
    };
    let kafka = KafkaArguments { brokers, settings: arguments.kafka.clone() };
    let cluster = match Cluster::connect(&kafka, Duration::from_secs(5)).await {
        Ok(cluster) => cluster,
        Err(error) => {
            let advice = "is Kafka running there, reachable from here, and is its security as -X says?";
            return vec![Finding::fail("brokers", error, advice)];
        }
    };
    let id = cluster.id().await.unwrap_or_else(|| "without an id".to_owned());
    let brokers = Finding::ok("brokers", format!("{} answers (cluster {id})", kafka.brokers));
    vec![brokers, topic(&cluster, &arguments.topic).await]
}

async fn topic(cluster: &Cluster, topic: &str) -> Finding {
    let partitions = match cluster.partitions(topic).await {
        Ok(Some(partitions)) => partitions,
        Ok(None) => {
            let advice = "make it, or let `labelstream publish --create-topic 4` make it, with 4 partitions";
            return Finding::fail("topic", format!("there is no topic {topic:?}"), advice);
        }
        Err(error) => {
            return Finding::fail("topic", error, "does the account have the right to describe it?");
        }
    };
    let found = format!("{topic} has {partitions} {}", if partitions == 1 { "partition" } else { "partitions" });
    // A negative retention is none: records are kept for ever.
    let retention = cluster.topic_setting(topic, "retention.ms").await.and_then(|setting| setting.parse::<i64>().ok());
    match retention.map(u64::try_from) {
        None => Finding::ok("topic", found),
        Some(Err(_)) => Finding::ok("topic", format!("{found} and keeps its records for ever")),
        Some(Ok(kept)) => {
            let kept = Duration::from_millis(kept);
            let found = format!("{found} and keeps its records for {} h", kept.as_secs() / 3600);
            if kept < SHORT_RETENTION {
                Finding::warn(
                    "topic",
                    found,
                    "a consumer that stands still for longer loses records: raise retention.ms",
                )
            } else {
                Finding::ok("topic", found)
            }
        }
    }
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
            findings.push(Finding::ok("database", format!("PostgreSQL {version} answers")));
            store
        }
        Err(error) => {
            let advice = match error {
                StoreError::Unavailable(_) => "is Postgres running there, and reachable from here?",
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
    Some(store)
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
        Classifier::open(&fetched.directory, &device)?.canary()?;
        Ok(format!("{name} runs the champion"))
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
