//! What librdkafka calls back: rebalances, statistics, errors, its log. All of it runs on the Kafka
//! thread, inside `poll`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientContext, Statistics, TopicPartitionList};
use store::NextOffset;

use super::claim::Claims;
use crate::metrics;

/// What a callback leaves for the loop that polls.
pub(super) enum Change {
    Assigned(Vec<i32>),
    Revoked(Vec<i32>),
    /// This membership is worth nothing: leave the group and join it again.
    GiveUp(String),
}

pub(super) struct Context {
    claims: Arc<Claims>,
    changes: Mutex<Vec<Change>>,
    last_error: Mutex<Option<(String, Instant)>>,
    reason: Mutex<String>,
    ends: Mutex<BTreeMap<i32, i64>>,
}

/// The same error is said once in this time.
const QUIET: Duration = Duration::from_secs(30);

impl Context {
    pub fn new(claims: Arc<Claims>) -> Self {
        Self {
            claims,
            changes: Mutex::default(),
            last_error: Mutex::default(),
            reason: Mutex::default(),
            ends: Mutex::default(),
        }
    }

    /// What has changed since the last call.
    pub fn changes(&self) -> Vec<Change> {
        std::mem::take(&mut *self.changes.lock().expect("no holder panics"))
    }

    /// What librdkafka has said of the error that a poll has just returned.
    pub fn reason(&self) -> String {
        std::mem::take(&mut *self.reason.lock().expect("no holder panics"))
    }

    /// As far as a reader of committed records can get in each partition, as last told.
    pub fn ends(&self) -> BTreeMap<i32, i64> {
        self.ends.lock().expect("no holder panics").clone()
    }

    fn note(&self, change: Change) {
        self.changes.lock().expect("no holder panics").push(change);
    }

    /// The group must see its assignment taken; each partition is given to librdkafka when it is
    /// claimed, for its offset goes into its first assign.
    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        match consumer.incremental_assign(&TopicPartitionList::new()) {
            Ok(()) => self.note(Change::Assigned(numbers(partitions))),
            Err(error) => self.note(Change::GiveUp(format!("librdkafka refuses an assignment: {error}"))),
        }
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let numbers = numbers(partitions);
        tracing::info!(partitions = ?numbers, lost = consumer.assignment_lost(), "partitions revoked");
        let unassigned = consumer.assignment().and_then(|held| {
            // Those that were never claimed, or are halted, were never given to it.
            let mut partitions = TopicPartitionList::new();
            for element in held.elements().iter().filter(|held| numbers.contains(&held.partition())) {
                partitions.add_partition(element.topic(), element.partition());
            }
            unassign(consumer, &partitions)
        });
        self.claims.positions.forget(&numbers);
        for &partition in &numbers {
            self.claims.metrics.lag.remove(&metrics::Partition { partition });
        }
        self.note(Change::Revoked(numbers));
        if let Err(error) = unassigned {
            self.note(Change::GiveUp(format!("librdkafka refuses to give partitions up: {error}")));
        }
    }
}

/// Takes partitions from librdkafka. A pause outlives the assignment there: the same partition, given
/// back later, would stand still.
pub(super) fn unassign(consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    consumer.resume(partitions)?;
    consumer.incremental_unassign(partitions)
}

fn numbers(partitions: &TopicPartitionList) -> Vec<i32> {
    partitions.elements().iter().map(|element| element.partition()).collect()
}

impl ConsumerContext for Context {
    /// rdkafka's own drops the errors of incremental assigns, and knows nothing of claims.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        self.claims.metrics.rebalances.inc();
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(consumer, partitions);
        } else {
            self.revoke(consumer, partitions);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            // For lag tools only: the position in Postgres is the one that counts.
            tracing::debug!(%error, "a commit to Kafka failed");
        }
    }
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        let Claims { stream, positions, metrics, health, .. } = &*self.claims;
        if statistics.brokers.values().any(|broker| broker.state == "UP") {
            if health.kafka.works() {
                tracing::info!("connected to Kafka");
            }
        } else if health.kafka.fails("no broker answers") {
            tracing::warn!("no Kafka broker answers: waiting");
        }
        let Some(topic) = statistics.topics.get(&stream.topic) else {
            return;
        };
        for (partition, NextOffset(position)) in positions.all() {
            if let Some(known) = topic.partitions.get(&partition) {
                // The last stable offset is as far as a reader of committed records can get.
                let end = if known.ls_offset >= 0 { known.ls_offset } else { known.hi_offset };
                if end >= 0 {
                    self.ends.lock().expect("no holder panics").insert(partition, end);
                    metrics.lag.get_or_create(&metrics::Partition { partition }).set((end - position).max(0));
                }
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        *self.reason.lock().expect("no holder panics") = reason.to_owned();
        if matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF)) {
            return; // no error
        }
        let mut last = self.last_error.lock().expect("no holder panics");
        let text = error.to_string();
        let said = last.as_ref().is_some_and(|(said, when)| *said == text && when.elapsed() < QUIET);
        if !said {
            tracing::warn!(%error, reason, "Kafka");
            *last = Some((text, Instant::now()));
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Failed connections come through `error` too, once for all brokers.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, "librdkafka: {message}");
            }
            _ => tracing::debug!(facility, "librdkafka: {message}"),
        }
    }
}
