//! One membership in the group, from the first poll to the last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use store::NextOffset;
use tokio::runtime::Handle;

use super::context::{Change, Context};
use super::offsets::Asker;
use super::partitions::Partitions;
use super::reader::Halt;
use super::{Kafka, Reading, Stop};
use crate::batch::Batcher;
use crate::batch_sender::BatchSender;
use crate::persist::Fenced;

mod reading;

/// How a membership ended.
pub(super) enum End {
    /// As it was told to.
    Stopped,
    /// For this reason, which a new membership may mend.
    Rejoin(String),
    /// Another consumer has joined as the member that this one was.
    Replaced,
}

/// The longest that a poll waits: callbacks, fences and the end are noticed this fast.
const POLL: Duration = Duration::from_millis(100);
/// Records taken before the loop looks at anything else.
const RUN: usize = 512;
/// Partitions that stand still are looked for this often.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Positions are told to Kafka this often, for its lag tools.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Membership<'a> {
    consumer: &'a Arc<BaseConsumer<Context>>,
    topic: &'a str,
    kafka: Parts<'a>,
    runtime: &'a Handle,
    batcher: Batcher,
    partitions: Partitions<'a>,
    /// Whose turn it is to be read first.
    turn: i32,
    paused: BTreeSet<i32>,
    /// Not read while what was read of them is not written; the others go on.
    held_back: BTreeSet<i32>,
    draining: bool,
    committed: BTreeMap<i32, NextOffset>,
    last_commit: Instant,
    last_watch: Instant,
}

/// What a membership borrows from the thread.
struct Parts<'a> {
    claims: &'a super::Claims,
    reading: &'a Reading,
    output: &'a mut BatchSender,
    fenced: &'a std::sync::mpsc::Receiver<Fenced>,
    stop: &'a Stop,
}

impl<'a> Membership<'a> {
    pub fn new(
        kafka: &'a mut Kafka,
        consumer: &'a Arc<BaseConsumer<Context>>,
        asker: &'a Asker,
        runtime: &'a Handle,
    ) -> Self {
        let Kafka { claims, reading, output, fenced, stop, .. } = kafka;
        let mut batcher = Batcher::new(reading.limits, reading.batch_size.max_length(), reading.in_flight.clone());
        batcher.set_tokens(reading.batch_size.tokens());
        Self {
            consumer,
            topic: &claims.stream.topic,
            batcher,
            partitions: Partitions::new(consumer, claims, asker),
            kafka: Parts { claims, reading, output, fenced, stop },
            runtime,
            turn: 0,
            paused: BTreeSet::new(),
            held_back: BTreeSet::new(),
            draining: false,
            committed: BTreeMap::new(),
            last_commit: Instant::now(),
            last_watch: Instant::now(),
        }
    }

    pub fn serve(mut self) -> Result<End> {
        loop {
            let step = match self.apply_changes() {
                Some(end) => Err(end),
                None => self.step()?,
            };
            match step {
                Ok(()) => {}
                Err(End::Rejoin(_)) if self.draining => return Ok(End::Stopped),
                Err(end) => return Ok(end),
            }
        }
    }

    fn apply_changes(&mut self) -> Option<End> {
        for change in self.consumer.context().changes() {
            match change {
                Change::Assigned(partitions) => self.partitions.assigned(&partitions),
                Change::Revoked(partitions) => self.revoked(&partitions),
                Change::GiveUp(why) => return Some(End::Rejoin(why)),
            }
        }
        None
    }

    /// What was read of these partitions and not written yet goes on: it is written if nobody
    /// claims them before, else fenced.
    fn revoked(&mut self, partitions: &[i32]) {
        self.partitions.revoked(partitions);
        self.paused.retain(|partition| !partitions.contains(partition));
        self.held_back.retain(|partition| !partitions.contains(partition));
        self.committed.retain(|partition, _| !partitions.contains(partition));
    }

    /// One turn of the loop.
    fn step(&mut self) -> Result<Result<(), End>> {
        self.kafka.claims.health.kafka_thread.beat();
        if self.kafka.stop.abort.is_cancelled() {
            return Ok(Err(End::Stopped));
        }
        if !self.draining {
            self.partitions.claim()?;
        }
        Ok(self.check_writes().and_then(|()| self.drain()).and_then(|()| self.flow()))
    }

    fn flow(&mut self) -> Result<(), End> {
        self.hand_over()?;
        self.tell_positions();
        if self.last_watch.elapsed() >= WATCH_INTERVAL && !self.draining {
            self.last_watch = Instant::now();
            let reads = self.paused.is_empty() && self.kafka.output.is_free();
            for (partition, why) in self.partitions.watch(reads) {
                self.halt(partition, Halt::Unread, why)?;
            }
        }
        if self.kafka.output.is_stuck() || self.kafka.output.is_free() {
            self.poll()?;
        }
        Ok(())
    }

    /// Writes that were refused. One of an older claim of ours has been answered already.
    fn check_writes(&mut self) -> Result<(), End> {
        while let Ok(Fenced { partition, epoch, failed }) = self.kafka.fenced.try_recv() {
            if self.partitions.epoch(partition) != Some(epoch) {
                continue;
            }
            match failed {
                Some(why) => self.halt(partition, Halt::Unwritten, format!("it cannot be written: {why}"))?,
                None => return Err(End::Rejoin(format!("partition {partition} was claimed by another consumer"))),
            }
        }
        Ok(())
    }

    fn halt(&mut self, partition: i32, halt: Halt, why: String) -> Result<(), End> {
        self.paused.remove(&partition);
        let halted = self.partitions.halt(partition, halt, why);
        halted.map_err(|error| End::Rejoin(format!("librdkafka cannot give a partition up: {error}")))
    }

    /// After the order to stop: nothing more is read, what was read is handed on, and the group is
    /// left when it is written.
    fn drain(&mut self) -> Result<(), End> {
        if !self.kafka.stop.shutdown.is_cancelled() {
            return Ok(());
        }
        if !std::mem::replace(&mut self.draining, true) {
            tracing::info!("draining: what was read is written, nothing more is read");
            self.pause(|_| true)?;
        }
        if self.kafka.output.is_free() {
            match self.batcher.take() {
                Some(batch) => self.kafka.output.offer(batch),
                None => self.kafka.output.close(),
            }
        }
        if self.kafka.stop.drained.is_cancelled() {
            self.last_commit -= COMMIT_INTERVAL;
            self.tell_positions();
            return Err(End::Stopped);
        }
        Ok(())
    }

    /// Passes a batch on that is due. While there is no room, nothing is read; when that lasts,
    /// Kafka is paused, so that polling goes on without records; and resumed once there is room.
    fn hand_over(&mut self) -> Result<(), End> {
        let output = &mut *self.kafka.output;
        if output.is_free() && self.batcher.patience(Instant::now()).is_some_and(|left| left.is_zero()) {
            output.offer(self.batcher.take().expect("a batch that is due has records, or it is a bug"));
        }
        if output.is_free() {
            return Ok(());
        }
        if output.send(self.runtime) {
            self.batcher.set_tokens(self.kafka.reading.batch_size.tokens());
            self.batcher.set_max_length(self.kafka.reading.batch_size.max_length());
            self.resume()
        } else if output.is_closed() {
            Err(End::Stopped)
        } else if output.is_stuck() {
            self.pause(|reader| reader.flows)
        } else {
            Ok(())
        }
    }

    fn poll(&mut self) -> Result<(), End> {
        self.serve_events()?;
        if self.read()? {
            return Ok(());
        }
        let wait = match self.batcher.patience(Instant::now()) {
            _ if self.kafka.output.is_stuck() => return Ok(()),
            Some(patience) => patience.min(POLL),
            None => POLL,
        };
        // Woken by whatever comes, records or rebalances.
        std::thread::park_timeout(wait);
        Ok(())
    }

    /// Rebalances, statistics, and what is wrong with the group as a whole.
    fn serve_events(&mut self) -> Result<(), End> {
        for _ in 0..RUN {
            match self.consumer.poll(Duration::ZERO) {
                None => break,
                Some(Err(error)) => self.judge(&error)?,
                Some(Ok(message)) => {
                    let place = format!("{}/{}", message.partition(), message.offset());
                    return Err(End::Rejoin(format!("a record came past its partition's queue: {place}")));
                }
            }
        }
        Ok(())
    }

    /// An error of the group or of the client; librdkafka mends most by itself, and [`Context`] says
    /// them.
    fn judge(&mut self, error: &KafkaError) -> Result<(), End> {
        use RDKafkaErrorCode as Code;
        let reason = self.consumer.context().reason();
        match error {
            KafkaError::MessageConsumptionFatal(Code::FencedInstanceId) => Err(End::Replaced),
            KafkaError::MessageConsumptionFatal(_) => Err(End::Rejoin(error.to_string())),
            KafkaError::MessageConsumption(
                Code::GroupAuthorizationFailed
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::GroupMaxSizeReached,
            ) => {
                self.partitions.group_fails(reason);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// For Kafka's lag tools only, so nothing waits for it and nothing depends on it.
    fn tell_positions(&mut self) {
        if self.last_commit.elapsed() < COMMIT_INTERVAL {
            return;
        }
        self.last_commit = Instant::now();
        let mut news = TopicPartitionList::new();
        for (partition, position) in self.kafka.claims.positions.all() {
            if self.partitions.epoch(partition).is_some()
                && self.committed.insert(partition, position) != Some(position)
            {
                let added = news.add_partition_offset(self.topic, partition, Offset::Offset(position.0));
                added.expect("a position is an offset, or it is a bug");
            }
        }
        if news.count() > 0
            && let Err(error) = self.consumer.commit(&news, CommitMode::Async)
        {
            tracing::debug!(%error, "cannot commit to Kafka");
        }
    }
}
