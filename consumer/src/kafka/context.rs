//! What librdkafka calls back: rebalances, statistics, errors, its log. All of it runs on the Kafka
//! thread, inside `poll`.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use store::{NextOffset, StoreError};

use super::claim::{Claimed, Claims, NoClaim};
use crate::metrics;

/// What a callback leaves for the loop that polls.
pub(super) enum Change {
    Assigned(Vec<Claimed>),
    Revoked(Vec<i32>),
    /// This membership is worth nothing: leave the group and join it again.
    GiveUp(String),
    /// Nothing can be done.
    Failed(StoreError),
}

pub(super) struct Context {
    claims: Arc<Claims>,
    changes: Mutex<Vec<Change>>,
    last_error: Mutex<Option<(String, Instant)>>,
}

/// The same error is said once in this time.
const QUIET: Duration = Duration::from_secs(30);

impl Context {
    pub fn new(claims: Arc<Claims>) -> Self {
        Self { claims, changes: Mutex::default(), last_error: Mutex::default() }
    }

    /// What has changed since the last call.
    pub fn changes(&self) -> Vec<Change> {
        std::mem::take(&mut *self.changes.lock().expect("no holder panics"))
    }

    fn note(&self, change: Change) {
        self.changes.lock().expect("no holder panics").push(change);
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let claimed = match self.claims.claim_all(consumer, numbers(partitions).into_iter()) {
            Ok(claimed) => claimed,
            Err(no_claim) => {
                self.note(match no_claim {
                    NoClaim::Later(why) => Change::GiveUp(why),
                    NoClaim::Never(error) => Change::Failed(error),
                });
                // librdkafka must see its assignment taken, or closing it hangs; nothing that comes
                // of it is read.
                numbers(partitions).into_iter().map(|partition| Claimed::Halted { partition }).collect()
            }
        };
        match self.offsets(&claimed).and_then(|offsets| consumer.incremental_assign(&offsets)) {
            Ok(()) => self.note(Change::Assigned(claimed)),
            Err(error) => self.note(Change::GiveUp(format!("librdkafka refuses an assignment: {error}"))),
        }
    }

    /// The explicit offsets for the first assign. A halted partition is assigned at its end, and
    /// what comes of it is dropped.
    fn offsets(&self, claimed: &[Claimed]) -> KafkaResult<TopicPartitionList> {
        let mut offsets = TopicPartitionList::new();
        for claimed in claimed {
            let (partition, offset) = match *claimed {
                Claimed::Read { partition, next, .. } => (partition, Offset::Offset(next.0)),
                Claimed::Halted { partition } => (partition, Offset::End),
            };
            offsets.add_partition_offset(&self.claims.stream.topic, partition, offset)?;
        }
        Ok(offsets)
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let numbers = numbers(partitions);
        tracing::info!(partitions = ?numbers, lost = consumer.assignment_lost(), "partitions revoked");
        // A pause outlives the assignment in librdkafka: the same partition, given back later,
        // would stand still.
        let unassigned = consumer.resume(partitions).and_then(|()| consumer.incremental_unassign(partitions));
        self.claims.positions.forget(&numbers);
        for &partition in &numbers {
            self.claims.metrics.halted.remove(&metrics::Partition { partition });
            self.claims.metrics.lag.remove(&metrics::Partition { partition });
        }
        self.note(Change::Revoked(numbers));
        if let Err(error) = unassigned {
            self.note(Change::GiveUp(format!("librdkafka refuses to give partitions up: {error}")));
        }
    }
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
                    metrics.lag.get_or_create(&metrics::Partition { partition }).set((end - position).max(0));
                }
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
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
