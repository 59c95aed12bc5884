//! Where a partition is read from: claimed in Postgres inside the assign callback, compared with
//! what Kafka still has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use service::Backoff;
use store::{Claim, Epoch, NextOffset, Outcome, Store, StoreError, Stream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::topic_id::topic_id;
use crate::config::{OnGap, Start};
use crate::health::Health;
use crate::metrics::{self, Metrics};
use crate::persist::Positions;

/// A claim waits this long for Kafka and Postgres, all partitions of an assignment together: well
/// below `max.poll.interval.ms`, and the others of the group wait too.
const PATIENCE: Duration = Duration::from_secs(30);
const BROKER_TIMEOUT: Duration = Duration::from_secs(5);

/// What a claim needs to know of everything around it.
pub(crate) struct Claims {
    pub store: Store,
    pub stream: Stream,
    pub owner: String,
    pub start: Start,
    pub on_gap: OnGap,
    pub runtime: Handle,
    /// Cancelled when the consumer ends: a claim does not wait then.
    pub ending: CancellationToken,
    pub positions: Arc<Positions>,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
}

/// A partition that may be read from `next` on, or one that must not be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Claimed {
    Read { partition: i32, epoch: Epoch, next: NextOffset },
    Halted { partition: i32 },
}

/// Why there is no claim.
#[derive(Debug)]
pub(super) enum NoClaim {
    /// It may be there later: leave the group and join it again.
    Later(String),
    /// Postgres refuses for good.
    Never(StoreError),
}

/// Kafka, as it is asked during one assignment.
struct Broker<'a, C: ConsumerContext> {
    consumer: &'a BaseConsumer<C>,
    topic_id: Option<String>,
    deadline: Instant,
}

/// Where a position lies in what Kafka has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It can be read.
    Inside,
    /// Records up to `low` were deleted before they were read.
    Below { low: NextOffset },
    /// Kafka has never had so many records in this partition: the topic was deleted and made again.
    Beyond { high: i64 },
}

impl Place {
    pub fn of(position: NextOffset, (low, high): (i64, i64)) -> Self {
        match position.0 {
            position if position < low => Self::Below { low: NextOffset(low) },
            position if position > high => Self::Beyond { high },
            _ => Self::Inside,
        }
    }
}

impl Claims {
    /// Claims one partition after the other.
    ///
    /// # Errors
    /// See [`NoClaim`]; what was claimed before stays claimed, which only fences older owners.
    pub(super) fn claim_all<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        partitions: impl Iterator<Item = i32>,
    ) -> Result<Vec<Claimed>, NoClaim> {
        let broker = Broker {
            consumer,
            topic_id: topic_id(consumer.client(), &self.stream.topic, BROKER_TIMEOUT),
            deadline: Instant::now() + PATIENCE,
        };
        partitions.map(|partition| self.claim(&broker, partition)).collect()
    }

    fn claim<C: ConsumerContext>(&self, broker: &Broker<'_, C>, partition: i32) -> Result<Claimed, NoClaim> {
        let (low, high) = self.watermarks(broker, partition)?;
        let if_new = NextOffset(if self.start == Start::Earliest { low } else { high });
        let claim = self.in_postgres(broker, || self.store.claim(&self.stream, partition, &self.owner, if_new))?;
        let mut place = Place::of(claim.next_offset, (low, high));
        if place != Place::Inside {
            // The owner before us may have gone on after we asked Kafka: ask again before judging.
            place = Place::of(claim.next_offset, self.watermarks(broker, partition)?);
        }
        let same_topic = self.is_same_topic(broker, &claim)?;
        self.metrics.halted.remove(&metrics::Partition { partition });
        let Claim { epoch, next_offset: next, .. } = claim;
        let claimed = match place {
            _ if !same_topic => {
                self.halt(&claim, "the topic was made again: it has another id; to read it use another --pipeline")
            }
            Place::Inside => Claimed::Read { partition, epoch, next },
            Place::Below { low } if self.on_gap == OnGap::Continue => self.skip(broker, &claim, low)?,
            Place::Below { low } => {
                let (from, to) = (next.0, low.0 - 1);
                let lost = format!("Kafka has deleted the offsets {from} to {to} before they were read");
                self.halt(&claim, &format!("{lost}; with --on-gap continue they are recorded as a gap"))
            }
            Place::Beyond { high } => {
                let remade = format!("the topic was made again: the position is {}, Kafka's last {high}", next.0);
                self.halt(&claim, &format!("{remade}; to read it use another --pipeline"))
            }
        };
        if let Claimed::Read { partition, epoch, next } = claimed {
            self.positions.claimed(partition, epoch, next);
            tracing::info!(partition, epoch = epoch.0, offset = next.0, "partition claimed");
        }
        Ok(claimed)
    }

    /// Whether the position is one of the topic that has this name now; brokers that tell no ids
    /// are believed.
    fn is_same_topic<C: ConsumerContext>(&self, broker: &Broker<'_, C>, claim: &Claim) -> Result<bool, NoClaim> {
        let Some(id) = &broker.topic_id else { return Ok(true) };
        match self.in_postgres(broker, || self.store.remember_topic(&self.stream, claim, id))? {
            Some(remembered) => Ok(remembered == *id),
            None => Err(taken(claim.partition)),
        }
    }

    fn skip<C: ConsumerContext>(
        &self,
        broker: &Broker<'_, C>,
        claim: &Claim,
        to: NextOffset,
    ) -> Result<Claimed, NoClaim> {
        let Claim { partition, epoch, next_offset } = *claim;
        let reason = "deleted by Kafka before it was read";
        match self.in_postgres(broker, || self.store.record_gap(&self.stream, claim, to, reason))? {
            Outcome::Written => {
                let lost = to.0 - next_offset.0;
                tracing::error!(partition, from = next_offset.0, to = to.0, lost, "records lost: {reason}");
                self.metrics.gaps.inc();
                self.metrics.gap_records.inc_by(lost.unsigned_abs());
                Ok(Claimed::Read { partition, epoch, next: to })
            }
            Outcome::Fenced => Err(taken(partition)),
        }
    }

    fn halt(&self, claim: &Claim, why: &str) -> Claimed {
        let partition = claim.partition;
        tracing::error!(partition, "partition halted: {why}");
        self.metrics.halted.get_or_create(&metrics::Partition { partition }).set(1);
        let halt = self.store.record_halt(&self.stream, partition, claim.epoch, why);
        if let Err(error) = self.runtime.block_on(halt) {
            tracing::warn!(partition, %error, "cannot leave word of the halt in Postgres");
        }
        Claimed::Halted { partition }
    }

    fn watermarks<C: ConsumerContext>(&self, broker: &Broker<'_, C>, partition: i32) -> Result<(i64, i64), NoClaim> {
        self.retry(
            broker.deadline,
            || broker.consumer.fetch_watermarks(&self.stream.topic, partition, BROKER_TIMEOUT),
            |error: &KafkaError| {
                tracing::warn!(partition, %error, "waiting for Kafka to say what it has");
                true
            },
        )
        .map_err(|error| NoClaim::Later(format!("Kafka does not say what it has of partition {partition}: {error}")))
    }

    fn in_postgres<T, C: ConsumerContext, F: Future<Output = Result<T, StoreError>>>(
        &self,
        broker: &Broker<'_, C>,
        statement: impl Fn() -> F,
    ) -> Result<T, NoClaim> {
        self.retry(
            broker.deadline,
            || self.runtime.block_on(statement()),
            |error: &StoreError| {
                if error.is_transient() && self.health.database.fails(error.to_string()) {
                    tracing::warn!(%error, "waiting for Postgres to claim partitions");
                }
                error.is_transient()
            },
        )
        .map_err(|error| if error.is_transient() { NoClaim::Later(error.to_string()) } else { NoClaim::Never(error) })
    }

    fn retry<T, E>(
        &self,
        deadline: Instant,
        attempt: impl Fn() -> Result<T, E>,
        is_transient: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        let mut backoff = Backoff::new(Duration::from_secs(2));
        loop {
            match attempt() {
                Err(error) if is_transient(&error) && Instant::now() < deadline && !self.ending.is_cancelled() => {
                    std::thread::sleep(backoff.next_delay());
                }
                result => return result,
            }
        }
    }
}

fn taken(partition: i32) -> NoClaim {
    NoClaim::Later(format!("partition {partition} has another owner already"))
}

#[cfg(test)]
mod tests;
