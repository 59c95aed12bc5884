//! One membership in the group, from the first poll to the last.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers as _, Message as _};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use store::{Epoch, NextOffset};
use tokio::runtime::Handle;

use super::claim::Claimed;
use super::context::{Change, Context};
use super::{Kafka, Reading, Stop};
use crate::batch::{Batcher, Origin};
use crate::batch_sender::BatchSender;
use crate::message::{Record, time_of_milliseconds};
use crate::persist::Fenced;

/// How a membership ended.
pub(super) enum End {
    /// As it was told to.
    Stopped,
    /// For this reason, which a new membership may mend.
    Rejoin(String),
}

/// The longest that a poll waits: callbacks, fences and the end are noticed this fast.
const POLL: Duration = Duration::from_millis(100);
/// Records taken before the loop looks at anything else.
const RUN: usize = 512;
/// Positions are told to Kafka this often, for its lag tools.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// Full batches that may have been on their way when a consumer died.
const SUSPECT_BATCHES: usize = 4;

pub(super) struct Membership<'a> {
    consumer: &'a BaseConsumer<Context>,
    topic: &'a str,
    kafka: Parts<'a>,
    runtime: &'a Handle,
    batcher: Batcher,
    owned: BTreeMap<i32, Owned>,
    paused: BTreeSet<i32>,
    /// Paused because their writes are stuck, while the others go on.
    held_back: BTreeSet<i32>,
    draining: bool,
    committed: BTreeMap<i32, NextOffset>,
    last_commit: Instant,
}

/// What a membership borrows from the thread.
struct Parts<'a> {
    claims: &'a super::Claims,
    reading: &'a Reading,
    output: &'a mut BatchSender,
    fenced: &'a std::sync::mpsc::Receiver<Fenced>,
    stop: &'a Stop,
}

/// A partition that is read.
struct Owned {
    epoch: Epoch,
    next: NextOffset,
    /// Records before it may be what consumers have died of.
    suspect_until: NextOffset,
    /// Whether a record has come: a fetcher that has not started yet must not be paused.
    flows: bool,
}

impl<'a> Membership<'a> {
    pub fn new(kafka: &'a mut Kafka, consumer: &'a BaseConsumer<Context>, runtime: &'a Handle) -> Self {
        let Kafka { claims, reading, output, fenced, stop, .. } = kafka;
        let mut batcher = Batcher::new(reading.limits, reading.batch_size.max_length(), reading.in_flight.clone());
        batcher.set_tokens(reading.batch_size.tokens());
        Self {
            consumer,
            topic: &claims.stream.topic,
            batcher,
            kafka: Parts { claims, reading, output, fenced, stop },
            runtime,
            owned: BTreeMap::new(),
            paused: BTreeSet::new(),
            held_back: BTreeSet::new(),
            draining: false,
            committed: BTreeMap::new(),
            last_commit: Instant::now(),
        }
    }

    pub fn serve(mut self) -> Result<End> {
        loop {
            let step = match self.apply_changes()? {
                Some(end) => Err(end),
                None => self.step(),
            };
            match step {
                Ok(()) => {}
                Err(End::Rejoin(_)) if self.draining => return Ok(End::Stopped),
                Err(end) => return Ok(end),
            }
        }
    }

    fn apply_changes(&mut self) -> Result<Option<End>> {
        for change in self.consumer.context().changes() {
            match change {
                Change::Assigned(claimed) => self.assigned(&claimed),
                Change::Revoked(partitions) => self.revoked(&partitions),
                Change::GiveUp(why) => return Ok(Some(End::Rejoin(why))),
                Change::Failed(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn assigned(&mut self, claimed: &[Claimed]) {
        let read = |claimed: &Claimed| match *claimed {
            Claimed::Read { partition, epoch, next } => Some((partition, epoch, next)),
            Claimed::Halted { .. } => None,
        };
        let partitions: Vec<i32> = claimed.iter().filter_map(read).map(|(partition, ..)| partition).collect();
        let suspects = self.runtime.block_on(self.kafka.reading.careful.suspects(&partitions));
        let span = (SUSPECT_BATCHES * self.kafka.reading.limits.records) as i64;
        for (partition, epoch, next) in claimed.iter().filter_map(read) {
            let suspect_until = NextOffset(if suspects.contains(&partition) { next.0 + span } else { 0 });
            self.owned.insert(partition, Owned { epoch, next, suspect_until, flows: false });
        }
        self.kafka.claims.metrics.assigned.set(self.owned.len() as i64);
    }

    /// What was read of these partitions and not written yet goes on: it is written if nobody
    /// claims them before, else fenced.
    fn revoked(&mut self, partitions: &[i32]) {
        self.owned.retain(|partition, _| !partitions.contains(partition));
        self.paused.retain(|partition| !partitions.contains(partition));
        self.held_back.retain(|partition| !partitions.contains(partition));
        self.committed.retain(|partition, _| !partitions.contains(partition));
        let (careful, partitions) = (self.kafka.reading.careful.clone(), partitions.to_vec());
        self.runtime.spawn(async move { careful.say_goodbye(Some(&partitions)).await });
        self.kafka.claims.metrics.assigned.set(self.owned.len() as i64);
    }

    /// One turn of the loop.
    fn step(&mut self) -> Result<(), End> {
        if self.kafka.stop.abort.is_cancelled() {
            return Err(End::Stopped);
        }
        self.check_fences()?;
        self.drain()?;
        self.hand_over()?;
        self.hold_back()?;
        self.tell_positions();
        if self.kafka.output.is_stuck() || self.kafka.output.is_free() {
            self.poll()?;
        }
        Ok(())
    }

    fn check_fences(&self) -> Result<(), End> {
        while let Ok(Fenced { partition, epoch }) = self.kafka.fenced.try_recv() {
            // A fence against an older claim of ours has done what it is for.
            if self.owned.get(&partition).is_some_and(|owned| owned.epoch == epoch) {
                return Err(End::Rejoin(format!("partition {partition} was claimed by another consumer")));
            }
        }
        Ok(())
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
            self.pause(|owned| owned.flows)
        } else {
            Ok(())
        }
    }

    /// A partition whose writes are stuck leaves room for the others: nothing more is read of it until
    /// half its share of the memory is written.
    fn hold_back(&mut self) -> Result<(), End> {
        let in_flight = &self.kafka.reading.in_flight;
        let over = in_flight.over_share(self.owned.len());
        let new: Vec<i32> = over
            .into_iter()
            .filter(|partition| self.owned.contains_key(partition) && !self.is_paused(*partition))
            .collect();
        if !new.is_empty() {
            tracing::warn!(partitions = ?new, "reading pauses: what was read of these partitions is not written");
            self.kafka.claims.metrics.pauses.inc();
            let paused = self.consumer.pause(&self.list(&new));
            self.held_back.extend(new);
            paused.map_err(|error| End::Rejoin(format!("librdkafka cannot pause: {error}")))?;
        }
        if self.held_back.is_empty() || self.draining {
            return Ok(());
        }
        let full = self.kafka.reading.in_flight.over_half_a_share(self.owned.len());
        let written: Vec<i32> = self.held_back.difference(&full).copied().collect();
        if written.is_empty() {
            return Ok(());
        }
        tracing::info!(partitions = ?written, "reading goes on");
        self.held_back.retain(|partition| full.contains(partition));
        let resumed = self.consumer.resume(&self.list(&written));
        resumed.map_err(|error| End::Rejoin(format!("librdkafka cannot resume: {error}")))
    }

    fn is_paused(&self, partition: i32) -> bool {
        self.paused.contains(&partition) || self.held_back.contains(&partition)
    }

    fn poll(&mut self) -> Result<(), End> {
        let mut wait = if self.kafka.output.is_stuck() {
            Duration::ZERO
        } else {
            self.batcher.patience(Instant::now()).unwrap_or(POLL).min(POLL)
        };
        for _ in 0..RUN {
            // A rebalance, like any other event, ends the run.
            let Some(polled) = self.consumer.poll(wait) else {
                return Ok(());
            };
            self.take(polled)?;
            if self.batcher.is_full() || !self.kafka.output.is_free() {
                return Ok(());
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn take(&mut self, polled: KafkaResult<BorrowedMessage<'_>>) -> Result<(), End> {
        let message = match polled {
            Ok(message) => message,
            Err(error) => return judge(&error),
        };
        let (partition, offset) = (message.partition(), message.offset());
        let Some(owned) = self.owned.get_mut(&partition) else {
            return Ok(()); // halted
        };
        if self.draining || offset < owned.next.0 {
            return Ok(());
        }
        let record = record(&message);
        let decoded = self.kafka.reading.format.decode(self.topic, partition, &record);
        let origin =
            Origin { partition, epoch: owned.epoch, from: owned.next, suspect: owned.next < owned.suspect_until };
        self.batcher.push(origin, record, decoded, Instant::now());
        owned.next = NextOffset(offset + 1);
        owned.flows = true;
        Ok(())
    }

    fn pause(&mut self, which: impl Fn(&Owned) -> bool) -> Result<(), End> {
        let new = self.owned.iter().filter(|(partition, owned)| which(owned) && !self.is_paused(**partition));
        let new: Vec<i32> = new.map(|(&partition, _)| partition).collect();
        if new.is_empty() {
            return Ok(());
        }
        if self.paused.is_empty() && !self.draining {
            tracing::info!("reading pauses: the stages behind are full");
            self.kafka.claims.metrics.pauses.inc();
        }
        let paused = self.consumer.pause(&self.list(&new));
        self.paused.extend(new);
        paused.map_err(|error| End::Rejoin(format!("librdkafka cannot pause: {error}")))
    }

    fn resume(&mut self) -> Result<(), End> {
        if self.paused.is_empty() || self.draining {
            return Ok(());
        }
        tracing::info!("reading goes on");
        let partitions: Vec<i32> = std::mem::take(&mut self.paused).into_iter().collect();
        let resumed = self.consumer.resume(&self.list(&partitions));
        resumed.map_err(|error| End::Rejoin(format!("librdkafka cannot resume: {error}")))
    }

    fn list(&self, partitions: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for &partition in partitions {
            list.add_partition(self.topic, partition);
        }
        list
    }

    /// For Kafka's lag tools only, so nothing waits for it and nothing depends on it.
    fn tell_positions(&mut self) {
        if self.last_commit.elapsed() < COMMIT_INTERVAL {
            return;
        }
        self.last_commit = Instant::now();
        let mut news = TopicPartitionList::new();
        for (partition, position) in self.kafka.claims.positions.all() {
            if self.owned.contains_key(&partition) && self.committed.insert(partition, position) != Some(position) {
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

/// Which errors end a membership. The others librdkafka mends by itself; they are said by
/// [`Context`].
fn judge(error: &KafkaError) -> Result<(), End> {
    use RDKafkaErrorCode::{AutoOffsetReset, LogTruncation, OffsetOutOfRange};
    match error {
        KafkaError::MessageConsumptionFatal(_)
        | KafkaError::MessageConsumption(AutoOffsetReset | LogTruncation | OffsetOutOfRange) => {
            Err(End::Rejoin(error.to_string()))
        }
        _ => Ok(()),
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    Record {
        offset: message.offset(),
        time: message.timestamp().to_millis().and_then(time_of_milliseconds),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().map(<[u8]>::to_vec),
        headers: message.headers().map(headers).unwrap_or_default(),
    }
}

fn headers(headers: &BorrowedHeaders) -> Vec<(String, Option<Vec<u8>>)> {
    let header = |index| {
        let header = headers.get(index);
        (header.key.to_owned(), header.value.map(<[u8]>::to_vec))
    };
    // rdkafka panics at a name that is not UTF-8, which Kafka forbids but no broker checks.
    let header = |index| catch_unwind(AssertUnwindSafe(|| header(index)));
    (0..headers.count()).map(|index| header(index).unwrap_or_else(|_| ("\u{fffd}".to_owned(), None))).collect()
}
