//! The way from the Kafka thread to the model: a channel of one batch, and one batch that waits for
//! room in it and in the memory for what is in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::batch::Batch;
use crate::in_flight::InFlight;

/// Batches between the thread that reads and the thread that classifies: one is prefetched.
pub(crate) const CAPACITY: usize = 1;

/// A batch that waits longer for room makes Kafka pause: a pause throws away what was fetched
/// ahead, so it is not worth it for a batch that takes its usual time.
const STUCK_AFTER: Duration = Duration::from_secs(2);
/// One attempt: the Kafka thread never blocks for longer.
const ATTEMPT: Duration = Duration::from_millis(50);

/// The sending end.
pub(crate) struct BatchSender {
    sender: Option<mpsc::Sender<Batch>>,
    in_flight: Arc<InFlight>,
    waiting: Option<(Batch, Instant)>,
}

impl BatchSender {
    pub fn new(sender: mpsc::Sender<Batch>, in_flight: Arc<InFlight>) -> Self {
        Self { sender: Some(sender), in_flight, waiting: None }
    }

    /// Whether the next batch may be offered.
    pub fn is_free(&self) -> bool {
        self.waiting.is_none()
    }

    /// Whether a batch has waited for too long.
    pub fn is_stuck(&self) -> bool {
        self.waiting.as_ref().is_some_and(|(_, since)| since.elapsed() >= STUCK_AFTER)
    }

    /// Whether nobody will ever take a batch again.
    pub fn is_closed(&self) -> bool {
        self.sender.as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    /// Takes a batch to send; there must be room.
    pub fn offer(&mut self, batch: Batch) {
        debug_assert!(self.is_free());
        self.waiting = Some((batch, Instant::now()));
    }

    /// Tries for a moment to send what waits; true if it is sent.
    pub fn send(&mut self, runtime: &Handle) -> bool {
        let (Some(sender), Some((batch, since))) = (&self.sender, self.waiting.take()) else {
            return false;
        };
        if self.in_flight.is_full(batch.held_bytes()) {
            self.waiting = Some((batch, since));
            std::thread::sleep(ATTEMPT);
            return false;
        }
        let Err(TrySendError::Full(batch) | TrySendError::Closed(batch)) = sender.try_send(batch) else {
            return true;
        };
        let permit = runtime.block_on(async { tokio::time::timeout(ATTEMPT, sender.reserve()).await });
        match permit {
            Ok(Ok(permit)) => {
                permit.send(batch);
                true
            }
            _ => {
                self.waiting = Some((batch, since));
                false
            }
        }
    }

    /// Says that no batch will come any more.
    pub fn close(&mut self) {
        self.sender = None;
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;

    use store::{Epoch, NextOffset};

    use super::*;
    use crate::batch::{Batcher, Limits, Origin};
    use crate::message::{Decoded, Record};

    fn room(bytes: usize) -> Arc<InFlight> {
        InFlight::new(bytes, Gauge::default())
    }

    #[test]
    fn a_batch_waits_for_memory_but_not_for_its_own() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (sender, mut batches) = mpsc::channel(9);
        let in_flight = room(1);
        let mut output = BatchSender::new(sender, in_flight.clone());
        let batch = || {
            let limits = Limits { tokens: 9, records: 9, bytes: 9, delay: Duration::ZERO };
            let mut batcher = Batcher::new(limits, 9, in_flight.clone());
            let origin = Origin { partition: 0, epoch: Epoch(1), from: NextOffset(0), at_a_time: None };
            batcher.push(origin, Record::default(), Decoded::Tombstone, Instant::now());
            batcher.take().unwrap()
        };
        output.offer(batch());
        assert!(output.send(runtime.handle()), "alone it goes, however large");
        output.offer(batch());
        assert!(!output.send(runtime.handle()), "the one before it is still in flight");
        drop(batches.try_recv().unwrap());
        assert!(output.send(runtime.handle()));
    }

    #[test]
    fn a_batch_waits_for_room_and_nothing_is_offered_behind_it() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (sender, mut batches) = mpsc::channel(1);
        let mut output = BatchSender::new(sender, room(usize::MAX));
        for sent in [true, false, false] {
            if output.is_free() {
                output.offer(Batch::default());
            }
            assert_eq!(output.send(runtime.handle()), sent);
        }
        assert!(!output.is_free() && !output.is_stuck() && !output.is_closed());
        batches.try_recv().unwrap();
        assert!(output.send(runtime.handle()) && output.is_free());
    }

    #[test]
    fn a_batch_that_waits_for_long_is_stuck_and_one_that_nobody_takes_is_seen() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (sender, batches) = mpsc::channel(1);
        let mut output = BatchSender::new(sender, room(usize::MAX));
        output.offer(Batch::default());
        output.waiting.as_mut().unwrap().1 -= STUCK_AFTER;
        assert!(output.is_stuck());
        drop(batches);
        assert!(!output.send(runtime.handle()) && output.is_closed());
    }
}
