//! What is on its way from Kafka to Postgres, in bytes: the bound on the consumer's memory, whatever
//! the number of partitions and the size of their records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use prometheus_client::metrics::gauge::Gauge;

/// What a record holds besides its bytes: the structures around them, at each stage the largest.
const RECORD_OVERHEAD: usize = 512;
/// How often the bytes of a record are held at the same time: raw (for a dead letter), decoded and
/// as tokens, encoded for Postgres.
const COPIES: usize = 3;
/// Partitions whose writes may all be stuck while the others go on.
const STUCK_PARTITIONS: usize = 3;

/// The bytes in flight, of all partitions and of each.
pub(crate) struct InFlight {
    limit: usize,
    gauge: Gauge,
    held: Mutex<BTreeMap<i32, usize>>,
}

impl InFlight {
    /// At most `limit` bytes, and what one batch has more than that.
    pub fn new(limit: usize, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { limit, gauge, held: Mutex::default() })
    }

    /// Whether more must wait for what is held, `own` bytes of which are the asker's.
    pub fn is_full(&self, own: usize) -> bool {
        let held = self.held.lock().expect("no holder panics");
        held.values().sum::<usize>().saturating_sub(own) >= self.limit
    }

    /// The partitions that hold so much that nothing more should be read of them: their writes are
    /// stuck, and must leave room for the `assigned` others.
    pub fn over_share(&self, assigned: usize) -> BTreeSet<i32> {
        self.above(self.share(assigned))
    }

    /// The partitions that hold too much to be read again.
    pub fn over_half_a_share(&self, assigned: usize) -> BTreeSet<i32> {
        self.above(self.share(assigned) / 2)
    }

    fn share(&self, assigned: usize) -> usize {
        self.limit / assigned.clamp(1, STUCK_PARTITIONS + 1)
    }

    fn above(&self, bytes: usize) -> BTreeSet<i32> {
        let held = self.held.lock().expect("no holder panics");
        held.iter().filter(|(_, held)| **held > bytes).map(|(&partition, _)| partition).collect()
    }

    fn change(&self, partition: i32, change: impl FnOnce(&mut usize)) {
        let mut held = self.held.lock().expect("no holder panics");
        let bytes = held.entry(partition).or_default();
        let before = *bytes;
        change(bytes);
        self.gauge.inc_by(*bytes as i64 - before as i64);
        if *bytes == 0 {
            held.remove(&partition);
        }
    }
}

/// A share of the bytes in flight, given back when it is dropped. The default counts nowhere.
#[derive(Default)]
pub(crate) struct Held {
    bytes: usize,
    of: Option<(i32, Arc<InFlight>)>,
}

impl Held {
    pub fn new(in_flight: Arc<InFlight>, partition: i32) -> Self {
        Self { bytes: 0, of: Some((partition, in_flight)) }
    }

    /// Adds a record of so many bytes.
    pub fn add_record(&mut self, bytes: usize) {
        let bytes = COPIES * bytes + RECORD_OVERHEAD;
        self.bytes += bytes;
        if let Some((partition, in_flight)) = &self.of {
            in_flight.change(*partition, |held| *held += bytes);
        }
    }

    /// Takes over what another holds of the same partition.
    pub fn append(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((partition, in_flight)) = &self.of {
            in_flight.change(*partition, |held| *held -= self.bytes);
        }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(in_flight: &Arc<InFlight>, partition: i32, records: usize) -> Held {
        let mut held = Held::new(in_flight.clone(), partition);
        (0..records).for_each(|_| held.add_record(0));
        held
    }

    #[test]
    fn bytes_count_until_their_last_holder_is_gone() {
        let gauge = Gauge::default();
        let in_flight = InFlight::new(3 * RECORD_OVERHEAD, gauge.clone());
        let mut first = held(&in_flight, 0, 2);
        let second = held(&in_flight, 0, 1);
        assert!(in_flight.is_full(0));
        assert!(!in_flight.is_full(second.bytes()), "who asks does not wait for itself");
        first.append(second);
        assert_eq!((first.bytes(), gauge.get()), (3 * RECORD_OVERHEAD, 3 * RECORD_OVERHEAD as i64));
        drop(first);
        assert_eq!((in_flight.is_full(0), gauge.get()), (false, 0));
        let mut long = Held::new(in_flight.clone(), 1);
        long.add_record(RECORD_OVERHEAD);
        assert!(in_flight.is_full(0), "a record's bytes count, three times");
    }

    #[test]
    fn a_partition_that_is_stuck_leaves_room_for_the_others_and_a_lone_one_has_all() {
        let in_flight = InFlight::new(8 * RECORD_OVERHEAD, Gauge::default());
        let stuck = held(&in_flight, 0, 3);
        let _flows = held(&in_flight, 1, 2);
        assert_eq!(in_flight.over_share(100), [0].into());
        assert_eq!(in_flight.over_half_a_share(100), [0, 1].into());
        assert!(in_flight.over_share(1).is_empty() && !in_flight.is_full(0));
        drop(stuck);
        assert_eq!(in_flight.over_half_a_share(100), [1].into());
    }
}
