//! The partitions that the group has given to this consumer, each with a fate of its own: waiting to
//! be claimed, read, or halted, and then claimed again later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use service::Backoff;
use store::{Epoch, NextOffset};

use super::claim::{Begin, Claimed, Claims};
use super::context::{Context, unassign};
use super::offsets::Asker;
use super::reader::{Halt, Reader, Silence};
use crate::metrics::Partition;

/// A halted partition is claimed again at least this often: a broker comes back, a disk is mended.
const RETRY: Duration = Duration::from_secs(15);
/// What was read before a halt is written first, if that takes no longer: claiming again would
/// refuse it.
const WRITTEN: Duration = Duration::from_secs(60);
/// Answers of brokers that were on their way when a partition was halted have come by then.
const SETTLED: Duration = Duration::from_secs(1);
/// Word of a halt is left again this often, in case the database lost the first.
const REMINDER: Duration = Duration::from_secs(60);
/// A former owner that holds a partition for so many attempts may be frozen.
const COURTESY: u32 = 4;
/// Records wait for so long and the position does not move: that is said, and nothing that comes of
/// a partition for so long makes it be claimed again.
const STILL: Duration = Duration::from_secs(60);
/// Partitions that are named where something is said of all of them.
const NAMED: usize = 3;

pub(super) struct Partitions<'a> {
    consumer: &'a Arc<BaseConsumer<Context>>,
    claims: &'a Claims,
    asker: &'a Asker,
    thread: Thread,
    assigned: BTreeMap<i32, Assigned>,
    group_problem: Option<String>,
}

/// A partition of this consumer.
struct Assigned {
    reader: Option<Reader>,
    /// Whether Kafka was asked and has not answered.
    asked: bool,
    /// Without a reader: when it is claimed, or claimed again.
    claim_at: Instant,
    /// What was read before it was halted, and when it was halted.
    unwritten: Option<(NextOffset, Instant)>,
    backoff: Backoff,
    failures: u32,
    trouble: Option<Trouble>,
    /// Its position, and since when it has been that while records wait.
    still: (NextOffset, Instant),
}

/// Why a partition stands still; said from the moment that it is known to last.
struct Trouble {
    why: String,
    told: Option<Instant>,
}

impl<'a> Partitions<'a> {
    pub fn new(consumer: &'a Arc<BaseConsumer<Context>>, claims: &'a Claims, asker: &'a Asker) -> Self {
        let thread = std::thread::current();
        Self { consumer, claims, asker, thread, assigned: BTreeMap::new(), group_problem: None }
    }

    pub fn assigned(&mut self, partitions: &[i32]) {
        self.group_problem = None;
        for &partition in partitions {
            self.assigned.insert(
                partition,
                Assigned {
                    reader: None,
                    asked: false,
                    claim_at: Instant::now(),
                    unwritten: None,
                    backoff: Backoff::new(RETRY),
                    failures: 0,
                    trouble: None,
                    still: (NextOffset(0), Instant::now()),
                },
            );
        }
        self.count();
    }

    pub fn revoked(&mut self, partitions: &[i32]) {
        for partition in partitions {
            self.assigned.remove(partition);
        }
        self.claims.say_goodbye(partitions.to_vec());
        self.count();
    }

    /// The group does not let this consumer in, or has nothing to give.
    pub fn group_fails(&mut self, why: String) {
        self.group_problem = Some(why);
        self.count();
    }

    /// Something comes: the group is as it should be.
    pub fn group_works(&mut self) {
        if self.group_problem.take().is_some() {
            self.count();
        }
    }

    /// The claim under which a partition is read, if it is.
    pub fn epoch(&self, partition: i32) -> Option<Epoch> {
        Some(self.assigned.get(&partition)?.reader.as_ref()?.epoch)
    }

    pub fn readers(&self) -> impl Iterator<Item = (i32, &Reader)> {
        self.assigned.iter().filter_map(|(&partition, assigned)| Some((partition, assigned.reader.as_ref()?)))
    }

    /// Those that are read, beginning with number `turn`.
    pub fn in_turns(&mut self, turn: i32) -> impl Iterator<Item = (i32, &mut Reader)> {
        let (mut first, mut then): (Vec<_>, Vec<_>) = (self.assigned.iter_mut())
            .filter_map(|(&partition, assigned)| Some((partition, assigned.reader.as_mut()?)))
            .partition(|(partition, _)| *partition >= turn);
        first.append(&mut then);
        first.into_iter()
    }

    /// Claims what is due: asks Kafka about it, and Postgres for what Kafka has answered.
    pub fn claim(&mut self) -> Result<()> {
        let due = self.due();
        if !due.is_empty() {
            for partition in &due {
                self.assigned.get_mut(partition).expect("it was found there").asked = true;
            }
            self.asker.ask(due, self.claims.asks_for_all())?;
        }
        let answers: Vec<_> = self.asker.answers().collect();
        // Polling goes on after it, however many answers there are.
        let deadline = Claims::deadline();
        for answer in answers {
            let mut waiting = answer.asked.clone();
            waiting.retain(|partition| self.assigned.get(partition).is_some_and(|assigned| assigned.reader.is_none()));
            if waiting.is_empty() {
                continue;
            }
            let claimed = self.claims.claim(&answer, &waiting, deadline)?;
            self.apply(claimed);
        }
        Ok(())
    }

    /// Those that are to be claimed now.
    fn due(&self) -> Vec<i32> {
        let now = Instant::now();
        let waits = |(_, it): &(&i32, &Assigned)| it.reader.is_none() && !it.asked && it.claim_at <= now;
        let mut due: Vec<(&i32, &Assigned)> = self.assigned.iter().filter(waits).collect();
        if due.iter().any(|(_, assigned)| assigned.unwritten.is_some()) {
            let written = self.claims.positions.all();
            due.retain(|(partition, assigned)| {
                assigned.unwritten.is_none_or(|(read, since)| {
                    since.elapsed() > WRITTEN || written.get(partition).is_none_or(|written| *written >= read)
                })
            });
        }
        due.into_iter().map(|(&partition, _)| partition).collect()
    }

    fn apply(&mut self, claimed: Vec<Claimed>) {
        let mut readers = Vec::new();
        for claimed in claimed {
            match claimed {
                Claimed::Read(begin) => readers.push(begin),
                Claimed::Stands { partition, epoch, why } => self.stands(partition, epoch, why),
            }
        }
        if readers.is_empty() {
            return self.count();
        }
        match self.start(&readers) {
            Ok(()) => {}
            Err(error) => {
                for Begin { partition, epoch, .. } in readers {
                    self.stands(partition, Some(epoch), format!("librdkafka does not take it: {error}"));
                }
            }
        }
        self.count();
    }

    /// Begins to read. The offset goes into a partition's first assign, and its queue is split off
    /// before, so that everything that comes of a partition, errors too, is known to be its own.
    fn start(&mut self, readers: &[Begin]) -> KafkaResult<()> {
        let topic = &self.claims.stream.topic;
        let mut offsets = TopicPartitionList::new();
        for &Begin { partition, epoch, next, last, suspicion } in readers {
            let first = last.map_or(next.0, |last| last.kafka_offset);
            offsets.add_partition_offset(topic, partition, Offset::Offset(first))?;
            let Some(mut queue) = self.consumer.split_partition_queue(topic, partition) else {
                return Err(KafkaError::Subscription(format!("partition {partition} has no queue")));
            };
            let thread = self.thread.clone();
            queue.set_nonempty_callback(move || thread.unpark());
            if let Some(assigned) = self.assigned.get_mut(&partition) {
                assigned.reader =
                    Some(Reader { queue, epoch, next, last, suspicion, flows: false, silence: Silence::default() });
                assigned.asked = false;
                assigned.still = (next, Instant::now());
                assigned.unwritten = None;
            }
        }
        self.consumer.incremental_assign(&offsets)
    }

    /// Reads a partition no longer, and claims it again later.
    pub fn halt(&mut self, partition: i32, halt: Halt, why: String) -> KafkaResult<()> {
        let Some(assigned) = self.assigned.get_mut(&partition) else { return Ok(()) };
        let Some(reader) = assigned.reader.take() else { return Ok(()) };
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.claims.stream.topic, partition);
        unassign(self.consumer, &list)?;
        assigned.unwritten = (halt != Halt::Unwritten).then(|| (reader.next, Instant::now()));
        let why = match (&assigned.trouble, halt) {
            // After a corrupt batch librdkafka asks for offsets that never were.
            (Some(trouble), Halt::Moved) => trouble.why.clone(),
            _ => why,
        };
        if halt != Halt::Moved {
            // It will not be better in a moment: said at once.
            assigned.failures += 1;
        }
        self.stands(partition, Some(reader.epoch), why);
        if let Some(assigned) = self.assigned.get_mut(&partition).filter(|_| halt != Halt::Moved) {
            // What librdkafka still has in flight of it must not meet the next assign.
            assigned.claim_at = assigned.claim_at.max(Instant::now() + SETTLED);
        }
        self.count();
        Ok(())
    }

    /// What did not work may work in a moment: it is said when it lasts.
    fn stands(&mut self, partition: i32, epoch: Option<Epoch>, why: String) {
        let Some(assigned) = self.assigned.get_mut(&partition) else { return };
        assigned.reader = None;
        assigned.asked = false;
        assigned.failures += 1;
        assigned.claim_at = Instant::now() + assigned.backoff.next_delay();
        if epoch.is_none() && assigned.failures >= COURTESY {
            self.claims.await_owner(partition);
        }
        if assigned.failures < 2 {
            tracing::info!(partition, "partition not read yet: {why}");
            return;
        }
        let news = assigned.trouble.as_ref().is_none_or(|trouble| trouble.why != why);
        if news {
            tracing::error!(partition, "partition halted: {why}");
        }
        let told = assigned.trouble.take().and_then(|trouble| trouble.told);
        let again = news || assigned.failures < COURTESY || told.is_none_or(|told| told.elapsed() > REMINDER);
        assigned.trouble = Some(Trouble { why, told });
        if let (Some(epoch), true, Some(trouble)) = (epoch, again, &mut assigned.trouble) {
            trouble.told = Some(Instant::now());
            self.claims.words.leave(partition, epoch, Some(trouble.why.clone()));
        }
    }

    /// Records come again, or the end was reached without an error.
    pub fn goes_on(&mut self, partition: i32) {
        let Some(assigned) = self.assigned.get_mut(&partition) else { return };
        assigned.failures = 0;
        assigned.backoff.reset();
        let Some(trouble) = assigned.trouble.take() else { return };
        tracing::info!(partition, "partition is read again");
        if let Some(reader) = &assigned.reader
            && trouble.told.is_some()
        {
            self.claims.words.leave(partition, reader.epoch, None);
        }
        self.count();
    }

    /// Looks for what stands still without an error: returns the partitions of which nothing comes
    /// although they are read (`reads`) and records wait; says of which nothing is written.
    pub fn watch(&mut self, reads: bool) -> Vec<(i32, String)> {
        let (positions, ends) = (self.claims.positions.all(), self.consumer.context().ends());
        let (mut silent, mut stuck) = (Vec::new(), None);
        for (&partition, assigned) in &mut self.assigned {
            let (Some(reader), Some(&position)) = (&assigned.reader, positions.get(&partition)) else { continue };
            let lag = ends.get(&partition).map_or(0, |end| end - position.0);
            if lag <= 0 || assigned.still.0 != position {
                assigned.still = (position, Instant::now());
                continue;
            }
            let seconds = assigned.still.1.elapsed().as_secs();
            if assigned.still.1.elapsed() < STILL {
                continue;
            }
            if reader.next > position {
                stuck = Some(format!(
                    "partition {partition}: nothing was written for {seconds} s while {lag} records wait"
                ));
            } else if reads && reader.silence.lasts(STILL, Instant::now()) {
                assigned.still.1 = Instant::now();
                silent.push((partition, format!("nothing has come of it for {seconds} s while {lag} records wait")));
            }
        }
        self.claims.health.partitions.stands(stuck);
        silent
    }

    /// Brings gauges and readiness up to date.
    fn count(&mut self) {
        let Claims { metrics, health, .. } = self.claims;
        metrics.assigned.set(self.readers().count() as i64);
        metrics.halted.clear();
        let halted: Vec<(i32, &str)> = (self.assigned.iter())
            .filter_map(|(&partition, assigned)| Some((partition, assigned.trouble.as_ref()?.why.as_str())))
            .collect();
        for &(partition, _) in &halted {
            metrics.halted.get_or_create(&Partition { partition }).set(1);
        }
        metrics.partitions_halted.set(halted.len() as i64);
        let all = !halted.is_empty() && halted.len() == self.assigned.len();
        health.partitions.set(self.group_problem.clone(), described(&halted), all);
    }
}

impl Drop for Partitions<'_> {
    fn drop(&mut self) {
        self.claims.say_goodbye(std::mem::take(&mut self.assigned).into_keys().collect());
        self.group_problem = None;
        self.count();
    }
}

/// The first of the halted partitions, and how many there are.
fn described(halted: &[(i32, &str)]) -> Option<String> {
    let named = halted.iter().take(NAMED).map(|(partition, why)| format!("partition {partition}: {why}"));
    let named = named.collect::<Vec<_>>().join("; ");
    match halted.len() {
        0 => None,
        count if count > NAMED => Some(format!("{named}; and {} more", count - NAMED)),
        _ => Some(named),
    }
}
