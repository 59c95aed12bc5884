//! Finding the topic, before anything joins a group: patient, and clear about what it waits for.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Statistics};
use service::Complaints;
use store::Stream;
use tokio_util::sync::CancellationToken;

use super::Settings;
use crate::health::Health;

const TIMEOUT: Duration = Duration::from_secs(3);
/// What is waited for is said this often.
const REMINDER: Duration = Duration::from_secs(15);

/// Waits until a broker answers and the topic exists, and says which cluster it is of; `None` if
/// the consumer ends before.
///
/// # Errors
/// A configuration that librdkafka refuses.
pub(crate) fn find_stream(
    settings: &Settings,
    wanted: Stream,
    health: &Health,
    ending: &CancellationToken,
) -> Result<Option<Stream>> {
    let scout = scout(settings)?;
    let mut said: Option<(String, Instant)> = None;
    while !ending.is_cancelled() {
        // Serves librdkafka's log and errors.
        scout.poll(Duration::ZERO);
        let problem = match cluster_of(&scout, &wanted.topic) {
            Ok(cluster_id) => {
                return Ok(Some(Stream { cluster_id, ..wanted }));
            }
            Err(problem) => problem,
        };
        // Everything that librdkafka has to say of it, not the first word alone.
        scout.poll(Duration::from_millis(100));
        let authorities = settings.0.get("ssl.ca.location").map(Path::new);
        let why = scout.context().complaints.explained(authorities);
        let problem = why.map_or(problem.clone(), |why| format!("{problem}: {why}"));
        health.kafka.fails(problem.clone());
        if said.as_ref().is_none_or(|(text, when)| *text != problem || when.elapsed() > REMINDER) {
            let brokers = settings.0.get("bootstrap.servers");
            tracing::warn!(brokers, topic = wanted.topic, "waiting for Kafka: {problem}");
            said = Some((problem, Instant::now()));
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    Ok(None)
}

/// A client that asks and is no member of the group.
pub(super) fn scout(settings: &Settings) -> Result<BaseConsumer<Scout>> {
    let mut client = settings.0.clone();
    client.remove("group.id");
    client.remove("group.instance.id");
    // Nobody polls it regularly: what it would say of itself would pile up.
    client.set("statistics.interval.ms", "0");
    // Of a broker that hangs up librdkafka speaks below a warning; what is said of it says `find_stream`.
    client.set_log_level(RDKafkaLogLevel::Info);
    client.create_with_context(Scout::default()).context("cannot make a Kafka client")
}

fn cluster_of(scout: &BaseConsumer<Scout>, topic: &str) -> Result<String, String> {
    let metadata = scout.fetch_metadata(Some(topic), TIMEOUT).map_err(|error| match error {
        KafkaError::MetadataFetch(code) => format!("no broker answers ({code})"),
        error => error.to_string(),
    })?;
    scout.context().complaints.forget();
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    match found.map(|found| (found.error(), found.partitions().len())) {
        Some((None, 1..)) => {}
        Some((Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED), _)) => {
            return Err(format!("no permission to read the topic {topic}"));
        }
        _ => return Err(format!("there is no topic {topic} yet")),
    }
    scout.client().fetch_cluster_id(TIMEOUT).ok_or_else(|| "the cluster does not say its id".to_owned())
}

/// Keeps quiet: who asks says what there is to say.
#[derive(Default)]
pub(super) struct Scout {
    complaints: Complaints,
}

impl ConsumerContext for Scout {}

impl ClientContext for Scout {
    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka");
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, "librdkafka: {message}");
        self.complaints.hear(facility, message);
    }
}
