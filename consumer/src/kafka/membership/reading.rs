//! What has come of the partitions, taken in turns, and held back where it cannot go on.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use store::NextOffset;

use super::{End, Membership, RUN};
use crate::batch::Batcher;
use crate::kafka::Reading;
use crate::kafka::context::Context;
use crate::kafka::polled::{end_of, record, what_is_wrong};
use crate::kafka::reader::{Halt, Reader};

/// What came of one partition in its turn.
#[derive(Default)]
struct Taken {
    /// Records, or an error.
    anything: bool,
    /// It is read without an error, for the first time or again, or its end was reached.
    goes_on: bool,
    /// Why it is read no longer.
    halt: Option<(Halt, String)>,
}

/// Takes records to the batcher.
struct Taker<'a> {
    topic: &'a str,
    context: &'a Context,
    reading: &'a Reading,
    batcher: &'a mut Batcher,
    draining: bool,
}

impl Taker<'_> {
    /// Takes what has come of a partition, as far as one batch goes.
    fn take(&mut self, partition: i32, reader: &mut Reader) -> Taken {
        let mut taken = Taken::default();
        for _ in 0..RUN {
            match reader.queue.poll(Duration::ZERO) {
                None => {
                    reader.silence.goes_on();
                    break;
                }
                Some(Ok(message)) => {
                    taken.anything = true;
                    reader.silence.ends();
                    if self.draining {
                        continue;
                    }
                    let record = record(&message);
                    if record.offset < reader.next.0 {
                        if let Some(why) = reader.is_replaced(&record) {
                            taken.halt = Some((Halt::Unread, why));
                            break;
                        }
                        continue;
                    }
                    let decoded = self.reading.format.decode(self.topic, partition, &record);
                    let origin = reader.origin(partition);
                    reader.next = NextOffset(record.offset + 1);
                    taken.goes_on |= !std::mem::replace(&mut reader.flows, true);
                    self.batcher.push(origin, record, decoded, Instant::now());
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    taken.goes_on = true;
                    let end = end_of(&self.context.reason());
                    if let Some(end) = end.filter(|end| *end > reader.next && !self.draining) {
                        self.batcher.advance(reader.origin(partition), end, Instant::now());
                        reader.next = end;
                    }
                }
                Some(Err(error)) => {
                    taken.anything = true;
                    taken.halt = Some((Halt::of(&error), what_is_wrong(&error, &self.context.reason())));
                    break;
                }
            }
            if self.batcher.is_full() {
                break;
            }
        }
        taken
    }
}

impl Membership<'_> {
    /// Takes what has come of each partition, in turns; true if anything has.
    pub(super) fn read(&mut self) -> Result<bool, End> {
        self.hold_back();
        let mut taker = Taker {
            topic: self.topic,
            context: self.consumer.context(),
            reading: self.kafka.reading,
            batcher: &mut self.batcher,
            draining: self.draining,
        };
        let mut turns = Vec::new();
        for (partition, reader) in self.partitions.in_turns(self.turn) {
            if self.held_back.contains(&partition) {
                continue;
            }
            turns.push((partition, taker.take(partition, reader)));
            if taker.batcher.is_full() {
                self.turn = partition.wrapping_add(1);
                break;
            }
        }
        let any = turns.iter().any(|(_, taken)| taken.anything);
        if any {
            self.partitions.group_works();
        }
        for (partition, taken) in turns {
            if taken.goes_on {
                self.partitions.goes_on(partition);
            }
            if let Some((halt, why)) = taken.halt {
                self.halt(partition, halt, why)?;
            }
        }
        Ok(any)
    }

    /// A partition whose writes are stuck leaves room for the others: nothing more is taken of it until
    /// half its share of the memory is written.
    fn hold_back(&mut self) {
        let in_flight = &self.kafka.reading.in_flight;
        let assigned = self.partitions.readers().count();
        let full = in_flight.over_half_a_share(assigned);
        self.held_back.retain(|partition| full.contains(partition));
        for partition in in_flight.over_share(assigned) {
            if self.held_back.insert(partition) {
                tracing::debug!(partition, "reading pauses: what was read of the partition is not written");
                self.kafka.claims.metrics.pauses.inc();
            }
        }
    }

    pub(super) fn pause(&mut self, which: impl Fn(&Reader) -> bool) -> Result<(), End> {
        let new =
            self.partitions.readers().filter(|(partition, reader)| which(reader) && !self.paused.contains(partition));
        let new: Vec<i32> = new.map(|(partition, _)| partition).collect();
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

    pub(super) fn resume(&mut self) -> Result<(), End> {
        if self.paused.is_empty() || self.draining {
            return Ok(());
        }
        tracing::info!("reading goes on");
        for (_, reader) in self.partitions.in_turns(0) {
            reader.silence.ends();
        }
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
}
