//! Where partitions are read from: claimed in Postgres, all in one statement, and compared with
//! what Kafka still has. What is wrong with one of them is said of that one alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use store::{Claim, Epoch, LastRecord, NextOffset, Store, StoreError, Stream, Taken, Wanted};
use tokio::runtime::Handle;
use tokio::time::timeout_at;

use super::Words;
use super::offsets::{Answer, Edges};
use crate::careful::{Careful, Suspicion};
use crate::config::{OnGap, Start};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::persist::Positions;

/// One claim of any number of partitions may take so long, however Postgres hangs: the thread polls
/// nothing meanwhile, and Kafka gives it `max.poll.interval.ms`. What is not claimed by then is
/// tried again.
const PATIENCE: Duration = Duration::from_secs(10);

/// A stream that begins at the latest records waits so long for partitions that do not say where
/// they are. One that says it later counts as added, and is read whole: more than was asked for, and
/// nothing lost.
const LATECOMERS: Duration = Duration::from_secs(30);

/// What a claim needs to know of everything around it.
pub(crate) struct Claims {
    pub store: Store,
    pub stream: Stream,
    pub careful: Arc<Careful>,
    pub owner: String,
    pub start: Start,
    pub on_gap: OnGap,
    pub runtime: Handle,
    pub positions: Arc<Positions>,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    /// Set when the stream is known to have begun.
    pub begun: OnceLock<()>,
    /// When Kafka first answered.
    pub first_answer: OnceLock<Instant>,
    /// Whether somebody waits for a partition's former owner.
    pub awaiting: Arc<AtomicBool>,
    pub words: Words,
}

/// A partition that may be read, or one that stands still.
#[derive(Debug)]
pub(super) enum Claimed {
    Read(Begin),
    Stands { partition: i32, epoch: Option<Epoch>, why: String },
}

/// How a claimed partition is read.
#[derive(Debug)]
pub(super) struct Begin {
    pub partition: i32,
    pub epoch: Epoch,
    /// From here on.
    pub next: NextOffset,
    /// The last record before it that has a row, to be compared.
    pub last: Option<LastRecord>,
    /// What consumers may have died of.
    pub suspicion: Option<Suspicion>,
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
    pub fn of(position: NextOffset, (low, high): Edges) -> Self {
        match position.0 {
            position if position < low => Self::Below { low: NextOffset(low) },
            position if position > high => Self::Beyond { high },
            _ => Self::Inside,
        }
    }
}

impl Claims {
    /// Leaves word that this consumer lives and reads the partitions no more.
    pub(super) fn say_goodbye(&self, partitions: Vec<i32>) {
        if partitions.is_empty() {
            return;
        }
        let careful = self.careful.clone();
        self.runtime.spawn(async move { careful.say_goodbye(Some(&partitions)).await });
    }

    /// Whether the next question to Kafka must be about all partitions: where a stream begins at
    /// the latest records, it begins there with every partition that there is.
    pub(super) fn asks_for_all(&self) -> bool {
        self.start == Start::Latest && self.begun.get().is_none()
    }

    /// When claims that begin now are to have ended.
    pub(super) fn deadline() -> Instant {
        Instant::now() + PATIENCE
    }

    /// Claims these partitions, as far as Postgres and what Kafka has said allow it.
    ///
    /// # Errors
    /// What Postgres refuses for all of them and for good.
    pub(super) fn claim(&self, answer: &Answer, partitions: &[i32], deadline: Instant) -> Result<Vec<Claimed>> {
        match self.begin(answer, deadline) {
            Ok(true) => {}
            Ok(false) => return Ok(stand(partitions, "the stream begins when every partition has a leader")),
            Err(error) => return self.all_stand(partitions, error),
        }
        let edges =
            |partition| answer.edges.get(&partition).cloned().unwrap_or_else(|| Err("not asked for".to_owned()));
        // A position that it has counts. A partition that was added since the stream began is read
        // from its first record on, whatever the start.
        let wanted = |partition| Wanted { partition, if_new: edges(partition).ok().map(|(low, _)| NextOffset(low)) };
        let wanted: Vec<Wanted> = partitions.iter().copied().map(wanted).collect();
        let mut taken = BTreeMap::new();
        let mut claimed = Vec::with_capacity(partitions.len());
        self.take(&wanted, answer.topic_id.as_deref(), deadline, &mut taken, &mut claimed)?;

        let mut lost: Vec<(Claim, NextOffset)> = Vec::new();
        for &partition in partitions {
            let known: Result<Edges, String> = edges(partition);
            let Some(Taken { claim, topic_id }) = taken.remove(&partition) else {
                if !claimed.iter().any(|claimed| claimed.partition() == partition) {
                    let held = "its former owner is still writing it".to_owned();
                    claimed.push(Claimed::Stands { partition, epoch: None, why: known.err().unwrap_or(held) });
                }
                continue;
            };
            match self.judge(&claim, topic_id, answer, known) {
                Verdict::Read => claimed.push(self.read(claim)),
                Verdict::Lost { low } => lost.push((claim, low)),
                Verdict::Stands(why) => claimed.push(Claimed::Stands { partition, epoch: Some(claim.epoch), why }),
            }
        }
        self.look_back(answer, deadline, &mut claimed)?;
        self.skip(&lost, deadline, &mut claimed);
        self.suspect(answer, deadline, &mut claimed);
        Ok(claimed)
    }

    /// Makes the stream known, once in its life: whoever comes first says where its partitions
    /// begin. Not yet where it is to begin at the latest records and some partition does not say
    /// where they are: false then, but not for long.
    fn begin(&self, answer: &Answer, deadline: Instant) -> Result<bool, StoreError> {
        if self.begun.get().is_some() {
            return Ok(true);
        }
        let mut positions = Vec::new();
        if self.start == Start::Latest && !self.in_postgres(deadline, self.store.is_begun(&self.stream))? {
            let ends = answer.edges.iter().filter_map(|(&partition, edges)| {
                let (_, high) = edges.as_ref().ok()?;
                Some((partition, NextOffset(*high)))
            });
            positions.extend(ends);
            let waited = self.first_answer.get_or_init(Instant::now).elapsed();
            if positions.is_empty() || (positions.len() < answer.edges.len() && waited < LATECOMERS) {
                return Ok(false);
            }
        }
        self.in_postgres(deadline, self.store.begin(&self.stream, &positions))?;
        let _ = self.begun.set(());
        Ok(true)
    }

    /// Claims what is free, in one statement. Where it fails for good, one of the partitions may be
    /// the reason: the halves are claimed for themselves.
    fn take(
        &self,
        wanted: &[Wanted],
        topic_id: Option<&str>,
        deadline: Instant,
        taken: &mut BTreeMap<i32, Taken>,
        stand: &mut Vec<Claimed>,
    ) -> Result<()> {
        let claim = self.store.claim_free(&self.stream, wanted, &self.owner, topic_id);
        match self.in_postgres(deadline, claim) {
            Ok(claims) => taken.extend(claims.into_iter().map(|taken| (taken.claim.partition, taken))),
            Err(StoreError::Failed(_)) if wanted.len() > 1 && Instant::now() < deadline => {
                let (left, right) = wanted.split_at(wanted.len() / 2);
                self.take(left, topic_id, deadline, taken, stand)?;
                self.take(right, topic_id, deadline, taken, stand)?;
            }
            Err(error) => {
                let partitions: Vec<i32> = wanted.iter().map(|wanted| wanted.partition).collect();
                stand.extend(self.all_stand(&partitions, error)?);
            }
        }
        Ok(())
    }

    /// None of these can be claimed now.
    fn all_stand(&self, partitions: &[i32], error: StoreError) -> Result<Vec<Claimed>> {
        if !error.is_transient() && !matches!(error, StoreError::Failed(_)) {
            bail!(error);
        }
        Ok(stand(partitions, &format!("it cannot be claimed: {error}")))
    }

    fn judge(&self, claim: &Claim, topic_id: Option<String>, answer: &Answer, edges: Result<Edges, String>) -> Verdict {
        // Brokers that tell no ids are believed.
        if answer.topic_id.is_some() && topic_id != answer.topic_id {
            let remade = "the topic was made again: it has another id; to read it use another --pipeline";
            return Verdict::Stands(remade.to_owned());
        }
        let edges = match edges {
            Ok(edges) => edges,
            Err(why) => return Verdict::Stands(why),
        };
        let next = claim.next_offset;
        match Place::of(next, edges) {
            Place::Inside => Verdict::Read,
            Place::Below { low } if self.on_gap == OnGap::Continue => Verdict::Lost { low },
            Place::Below { low } => {
                let (from, to) = (next.0, low.0 - 1);
                let lost = format!("Kafka has deleted the offsets {from} to {to} before they were read");
                Verdict::Stands(format!("{lost}; with --on-gap continue they are recorded as a gap"))
            }
            Place::Beyond { high } => {
                let remade = format!("the topic was made again: the position is {}, Kafka's last {high}", next.0);
                Verdict::Stands(format!("{remade}; to read it use another --pipeline"))
            }
        }
    }

    fn read(&self, Claim { partition, epoch, next_offset: next }: Claim) -> Claimed {
        self.positions.claimed(partition, epoch, next);
        tracing::info!(partition, epoch = epoch.0, offset = next.0, "partition claimed");
        Claimed::Read(Begin { partition, epoch, next, last: None, suspicion: None })
    }

    /// Finds the record by which each partition shows that it is still the one that was read: a log
    /// that an unclean election cut off may have been filled with others since.
    fn look_back(&self, answer: &Answer, deadline: Instant, claimed: &mut Vec<Claimed>) -> Result<()> {
        let partitions: Vec<i32> =
            claimed.iter_mut().filter_map(Claimed::begins).map(|begin| begin.partition).collect();
        if partitions.is_empty() {
            return Ok(());
        }
        let records = match self.in_postgres(deadline, self.store.last_records(&self.stream, &partitions)) {
            Ok(records) => records,
            Err(error) => {
                claimed.retain(|claimed| matches!(claimed, Claimed::Stands { .. }));
                claimed.extend(self.all_stand(&partitions, error)?);
                return Ok(());
            }
        };
        let low = |partition| answer.edges.get(&partition).and_then(|edges| Some(edges.as_ref().ok()?.0));
        let has = |record: &LastRecord| low(record.partition).is_some_and(|low| low <= record.kafka_offset);
        let records = records.into_iter().filter(has).map(|record| (record.partition, record));
        let records: BTreeMap<i32, LastRecord> = records.collect();
        for begin in claimed.iter_mut().filter_map(Claimed::begins) {
            begin.last = records.get(&begin.partition).copied();
        }
        Ok(())
    }

    /// Finds out where consumers have died of what waits. Without an answer nothing is suspected.
    fn suspect(&self, answer: &Answer, deadline: Instant, claimed: &mut [Claimed]) {
        let waits = |begin: &&mut Begin| {
            let edges = answer.edges.get(&begin.partition).and_then(|edges| edges.as_ref().ok());
            edges.is_some_and(|(_, high)| begin.next.0 < *high)
        };
        let begins = claimed.iter_mut().filter_map(Claimed::begins).filter(waits);
        let reads: Vec<(i32, NextOffset)> = begins.map(|begin| (begin.partition, begin.next)).collect();
        if reads.is_empty() {
            return;
        }
        match self.in_postgres(deadline, self.careful.suspects(&reads)) {
            Ok(suspects) => {
                for begin in claimed.iter_mut().filter_map(Claimed::begins) {
                    begin.suspicion = suspects.get(&begin.partition).copied();
                }
            }
            Err(error) => tracing::warn!(%error, "cannot look whether consumers have died at these positions"),
        }
    }

    /// Records what was lost, and reads on behind it.
    fn skip(&self, lost: &[(Claim, NextOffset)], deadline: Instant, claimed: &mut Vec<Claimed>) {
        if lost.is_empty() {
            return;
        }
        let reason = "deleted by Kafka before it was read";
        let recorded = self.in_postgres(deadline, self.store.record_gaps(&self.stream, lost, reason));
        for &(claim, to) in lost {
            let Claim { partition, epoch, next_offset } = claim;
            let stands = |why: String| Claimed::Stands { partition, epoch: Some(epoch), why };
            claimed.push(match &recorded {
                Ok(moved) if moved.contains(&partition) => {
                    let count = to.0 - next_offset.0;
                    tracing::error!(partition, from = next_offset.0, to = to.0, lost = count, "records lost: {reason}");
                    self.metrics.gaps.inc();
                    self.metrics.gap_records.inc_by(count.unsigned_abs());
                    self.read(Claim { next_offset: to, ..claim })
                }
                Ok(_) => stands("another consumer has claimed it meanwhile".to_owned()),
                Err(error) => stands(format!("a gap cannot be recorded: {error}")),
            });
        }
    }

    /// Sees to it that a former owner that has fallen silent holds a partition no longer: one
    /// partition at a time, for each takes a connection.
    pub(super) fn await_owner(&self, partition: i32) {
        if self.awaiting.swap(true, Ordering::Relaxed) {
            return;
        }
        let (store, stream, awaiting) = (self.store.clone(), self.stream.clone(), self.awaiting.clone());
        self.runtime.spawn(async move {
            if let Err(error) = store.await_owner(&stream, partition).await {
                tracing::debug!(partition, %error, "the former owner still holds the partition");
            }
            awaiting.store(false, Ordering::Relaxed);
        });
    }

    /// Waits for an answer until the deadline, also where a statement hangs.
    fn in_postgres<T>(
        &self,
        deadline: Instant,
        statement: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let answered = self.runtime.block_on(async { timeout_at(deadline.into(), statement).await });
        let late = || StoreError::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()));
        let answered = answered.unwrap_or_else(|_| Err(late()));
        match &answered {
            Ok(_) => drop(self.health.database.works()),
            Err(error) if error.is_transient() && self.health.database.fails(error.to_string()) => {
                tracing::warn!(%error, "waiting for Postgres to claim partitions");
            }
            Err(_) => {}
        }
        answered
    }
}

impl Claimed {
    pub fn partition(&self) -> i32 {
        let (Self::Read(Begin { partition, .. }) | Self::Stands { partition, .. }) = self;
        *partition
    }

    fn begins(&mut self) -> Option<&mut Begin> {
        match self {
            Self::Read(begin) => Some(begin),
            Self::Stands { .. } => None,
        }
    }
}

fn stand(partitions: &[i32], why: &str) -> Vec<Claimed> {
    let stands = |&partition| Claimed::Stands { partition, epoch: None, why: why.to_owned() };
    partitions.iter().map(stands).collect()
}

/// What becomes of a claimed partition.
enum Verdict {
    Read,
    Lost { low: NextOffset },
    Stands(String),
}

#[cfg(test)]
mod tests;
