//! A partition that is read, and why one is read no longer.

use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use store::{Epoch, LastRecord, NextOffset};

use super::context::Context;
use crate::batch::Origin;
use crate::careful::Suspicion;
use crate::message::Record;

/// A partition that is read.
pub(super) struct Reader {
    pub queue: PartitionQueue<Context>,
    pub epoch: Epoch,
    pub next: NextOffset,
    /// The last record before it that has a row: is read once more, for comparison.
    pub last: Option<LastRecord>,
    /// Which records may be what consumers have died of.
    pub suspicion: Option<Suspicion>,
    /// Whether a record has come: a fetcher that has not started yet must not be paused.
    pub flows: bool,
    pub silence: Silence,
}

impl Reader {
    /// Where the next record is read.
    pub fn origin(&self, partition: i32) -> Origin {
        let suspicion = self.suspicion.filter(|suspicion| self.next < suspicion.until);
        let at_a_time = suspicion.map(|suspicion| suspicion.at_a_time);
        Origin { partition, epoch: self.epoch, from: self.next, at_a_time }
    }

    /// What is wrong with the partition, as a record before `next` shows.
    pub fn is_replaced(&self, record: &Record) -> Option<String> {
        let last = self.last.filter(|last| last.kafka_offset == record.offset)?;
        let time = record.time.filter(|time| *time != last.record_time)?;
        let (offset, then) = (last.kafka_offset, last.record_time);
        Some(format!(
            "its log was cut off and filled again: at offset {offset} stands a record of {time}, and the one that was \
             read was of {then}; what is new below the position was never read: read the topic with another \
             --pipeline, or go on behind it with `labelstream positions skip`"
        ))
    }
}

/// Since when nothing has come of a partition although it was asked for. One whose turn has not come
/// is not silent.
#[derive(Default)]
pub(super) struct Silence(Option<Instant>);

impl Silence {
    /// It was asked, and had nothing.
    pub fn goes_on(&mut self) {
        self.0.get_or_insert_with(Instant::now);
    }

    /// Something has come, or nothing could.
    pub fn ends(&mut self) {
        self.0 = None;
    }

    /// Whether it has gone on for so long by now.
    pub fn lasts(&self, long: Duration, now: Instant) -> bool {
        self.0.is_some_and(|since| now.saturating_duration_since(since) >= long)
    }
}

/// Why a partition that was read is read no longer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Halt {
    /// Kafka has something else at its position than it had: to be looked at again at once.
    Moved,
    /// Its records cannot be read.
    Unread,
    /// They cannot be written.
    Unwritten,
}

impl Halt {
    pub fn of(error: &KafkaError) -> Self {
        use RDKafkaErrorCode::{AutoOffsetReset, LogTruncation, OffsetOutOfRange};
        match error.rdkafka_error_code() {
            Some(AutoOffsetReset | LogTruncation | OffsetOutOfRange) => Self::Moved,
            _ => Self::Unread,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_its_turn_is_not_silent_and_who_was_asked_in_vain_is() {
        let (long, mut silence) = (Duration::from_secs(60), Silence::default());
        let later = Instant::now() + long * 2;
        assert!(!silence.lasts(long, later), "never asked");
        silence.goes_on();
        assert!(silence.lasts(long, later) && !silence.lasts(long, Instant::now()));
        silence.ends();
        assert!(!silence.lasts(long, later));
    }
}
