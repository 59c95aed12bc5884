//! Kafka: the only module that names rdkafka. A thread of its own polls, decodes and batches, and
//! never blocks for long.
//!
//! A membership in the group is one librdkafka consumer. What is wrong with a partition (a corrupt
//! batch, no leader, a claim that fails) halts that partition alone, which is claimed again later. A
//! partition that others have claimed ends the membership, and the thread joins the group again.

mod claim;
mod connect;
mod context;
mod membership;
mod offsets;
mod partitions;
mod polled;
mod reader;
mod settings;
mod topic_id;
mod words;

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use service::Backoff;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::batch::Limits;
use crate::batch_sender::BatchSender;
use crate::batch_size::BatchSize;
use crate::in_flight::InFlight;
use crate::message::Format;
use crate::persist::Fenced;

pub(crate) use claim::Claims;
pub(crate) use connect::find_stream;
use context::Context;
use membership::{End, Membership};
use offsets::Asker;
pub(crate) use settings::Settings;
pub(crate) use words::Words;

/// The Kafka thread's work.
pub(crate) struct Kafka {
    pub settings: Settings,
    pub claims: Arc<Claims>,
    pub reading: Reading,
    pub output: BatchSender,
    pub fenced: mpsc::Receiver<Fenced>,
    pub stop: Stop,
}

/// How records become batches.
pub(crate) struct Reading {
    pub format: Format,
    pub limits: Limits,
    pub batch_size: Arc<BatchSize>,
    pub in_flight: Arc<InFlight>,
}

/// The three steps of an end.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    /// Stop reading, hand on what is there.
    pub shutdown: CancellationToken,
    /// Everything that was handed on is written.
    pub drained: CancellationToken,
    /// End at once.
    pub abort: CancellationToken,
}

/// Joining again would only throw the other one out in its turn.
const REPLACED: &str = "another consumer has joined the group with the same group.instance.id and taken this one's \
    place: give each consumer an id of its own, or none";
/// After a membership of this length, the delays before joining again start over.
const STABLE: Duration = Duration::from_secs(60);

impl Kafka {
    /// Reads until it is told to stop and everything that was read is written.
    ///
    /// # Errors
    /// What Postgres refuses for good; a topic of another cluster under the same address.
    pub fn run(mut self, runtime: &Handle) -> Result<()> {
        let asker = Asker::new(&self.settings, &self.claims.stream.topic)?;
        let mut backoff = Backoff::new(Duration::from_secs(10));
        loop {
            let joined = Instant::now();
            let why = match self.join(&asker, runtime)? {
                End::Stopped => return Ok(()),
                End::Replaced => bail!(REPLACED),
                End::Rejoin(why) => why,
            };
            if joined.elapsed() > STABLE {
                backoff.reset();
            }
            let delay = backoff.next_delay();
            tracing::warn!(why, ?delay, "left the group, joining again");
            self.claims.metrics.rejoins.inc();
            let ending = self.stop.shutdown.cancelled();
            if runtime.block_on(async { tokio::time::timeout(delay, ending).await }).is_ok() {
                return Ok(());
            }
            let Claims { stream, health, .. } = &*self.claims;
            let Some(found) = find_stream(&self.settings, stream.clone(), health, &self.stop.shutdown)? else {
                return Ok(());
            };
            ensure!(found == *stream, "another cluster answers at this address now: {}", found.cluster_id);
        }
    }

    fn join(&mut self, asker: &Asker, runtime: &Handle) -> Result<End> {
        let context = Context::new(self.claims.clone());
        let mut consumer: BaseConsumer<Context> = self
            .settings
            .for_partitions(asker.partitions())
            .create_with_context(context)
            .context("cannot make a Kafka consumer")?;
        let thread = std::thread::current();
        consumer.set_nonempty_callback(move || thread.unpark());
        let topic = &self.claims.stream.topic;
        consumer.subscribe(&[topic]).with_context(|| format!("cannot subscribe to {topic}"))?;
        let consumer = Arc::new(consumer);
        let end = Membership::new(self, &consumer, asker, runtime).serve();
        // Leaving the group may take as long as a broker does not answer.
        self.claims.health.kafka_thread.rests();
        end
    }
}
