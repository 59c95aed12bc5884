//! Labeled records into Postgres: a lane for each partition, in which one transaction follows the
//! other. What is in flight is bounded together (see [`crate::in_flight`]), so a lane that is stuck
//! stops no other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chrono::Utc;
use service::Backoff;
use store::{Epoch, NextOffset, Outcome, Store, StoreError, Stream, Write};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::health::Health;
use crate::in_flight::Held;
use crate::message::{Reason, Record};
use crate::metrics::{self, Metrics};
use crate::shadow::Offers;

/// The records of a partition from one position to the next, ready to write.
pub(crate) struct Labeled {
    pub write: Write,
    /// The raw records of `write.predictions`, one for one: a row that Postgres cannot hold becomes
    /// a dead letter.
    pub records: Vec<Record>,
    pub held: Held,
}

impl Labeled {
    fn rows(&self) -> usize {
        self.write.predictions.len() + self.write.dead_letters.len()
    }

    /// Whether both may be written as one: a transaction names one version.
    fn goes_with(&self, next: &Self) -> bool {
        let version = |labeled: &Self| labeled.write.predictions.first().map(|row| row.version);
        version(self).is_none() || version(next).is_none() || version(self) == version(next)
    }

    /// Adds what comes next in the same lane.
    fn append(&mut self, next: Self) {
        assert_eq!(self.write.to, next.write.from, "a lane without holes, or it is a bug");
        self.write.to = next.write.to;
        self.write.predictions.extend(next.write.predictions);
        self.write.dead_letters.extend(next.write.dead_letters);
        self.write.tombstones += next.write.tombstones;
        self.records.extend(next.records);
        self.held.append(next.held);
    }

    /// Makes a dead letter of the prediction at `offset`; false if there is none.
    fn isolate(&mut self, offset: i64, detail: &str) -> bool {
        let Some(index) = self.write.predictions.iter().position(|row| row.kafka_offset == offset) else {
            return false;
        };
        self.write.predictions.remove(index);
        let record = self.records.remove(index);
        self.write.dead_letters.push(record.into_dead_letter(Reason::Unstorable, detail));
        true
    }
}

/// The positions that Postgres has committed, by partition, with the claim under which they were:
/// what Kafka and the lag are told.
#[derive(Default)]
pub(crate) struct Positions {
    noted: Mutex<BTreeMap<i32, (Epoch, NextOffset)>>,
    changed: Notify,
}

impl Positions {
    /// A partition is read from here on, under this claim.
    pub fn claimed(&self, partition: i32, epoch: Epoch, position: NextOffset) {
        self.noted().insert(partition, (epoch, position));
        self.changed.notify_waiters();
    }

    /// A write is committed. One that was still on its way when its partition went to others is not
    /// noted.
    fn written(&self, partition: i32, epoch: Epoch, position: NextOffset) {
        if let Some(noted) = self.noted().get_mut(&partition).filter(|noted| noted.0 == epoch) {
            noted.1 = position;
        }
        self.changed.notify_waiters();
    }

    /// Forgets partitions that are read by others now.
    pub fn forget(&self, partitions: &[i32]) {
        self.noted().retain(|partition, _| !partitions.contains(partition));
        self.changed.notify_waiters();
    }

    /// Forgets a partition whose claim was found lost.
    pub fn lost(&self, partition: i32, epoch: Epoch) {
        self.noted().retain(|noted, (owned, _)| *noted != partition || *owned != epoch);
        self.changed.notify_waiters();
    }

    /// That of one partition.
    pub fn get(&self, partition: i32) -> Option<(Epoch, NextOffset)> {
        self.noted().get(&partition).copied()
    }

    /// Ends after the next change from now on.
    pub fn changed(&self) -> impl Future<Output = ()> {
        self.changed.notified()
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<i32, NextOffset> {
        self.noted().iter().map(|(&partition, &(_, position))| (partition, position)).collect()
    }

    fn noted(&self) -> MutexGuard<'_, BTreeMap<i32, (Epoch, NextOffset)>> {
        self.noted.lock().expect("no holder panics")
    }
}

/// A claim that writes no longer: because the partition has been claimed again, by anybody, or
/// because of what has failed for good.
#[derive(Clone, Debug)]
pub(crate) struct Fenced {
    pub partition: i32,
    pub epoch: Epoch,
    pub failed: Option<String>,
}

/// Everything that a lane needs besides its records.
pub(crate) struct Writer {
    pub store: Store,
    pub stream: Stream,
    pub positions: Arc<Positions>,
    pub fenced: std::sync::mpsc::Sender<Fenced>,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub offers: Arc<Offers>,
}

/// Rows of one transaction, when several batches have waited: more makes a write longer, not
/// faster.
const MAX_ROWS: usize = 4_096;
/// And bytes in flight of one transaction.
const MAX_BYTES: usize = 16 << 20;

/// Writes until the input ends and everything is written.
///
/// # Errors
/// What Postgres refuses for good.
pub(crate) async fn persist(mut input: mpsc::Receiver<Vec<Labeled>>, writer: Writer) -> Result<()> {
    let writer = Arc::new(writer);
    let mut lanes = Lanes { open: BTreeMap::new(), running: JoinSet::new(), writer };
    loop {
        tokio::select! {
            labeled = input.recv() => match labeled {
                Some(labeled) => for labeled in labeled {
                    lanes.send(labeled);
                },
                None => break,
            },
            Some(ended) = lanes.running.join_next() => ended.context("a lane panicked")??,
        }
    }
    drop(lanes.open);
    while let Some(ended) = lanes.running.join_next().await {
        ended.context("a lane panicked")??;
    }
    Ok(())
}

/// The lanes by partition: a new claim opens a new lane, and the older one ends when it has written
/// or been fenced.
struct Lanes {
    open: BTreeMap<i32, (Epoch, mpsc::UnboundedSender<Labeled>)>,
    running: JoinSet<Result<()>>,
    writer: Arc<Writer>,
}

impl Lanes {
    fn send(&mut self, labeled: Labeled) {
        let Write { partition, epoch, .. } = labeled.write;
        let known = self.open.get(&partition).map(|(epoch, _)| *epoch);
        if known < Some(epoch) {
            let (sender, receiver) = mpsc::unbounded_channel();
            self.running.spawn(lane(receiver, self.writer.clone()));
            self.open.insert(partition, (epoch, sender));
        } else if known > Some(epoch) {
            // Read under a claim that this consumer itself has followed by a newer one: read again
            // under that one.
            return;
        }
        // A lane that was fenced takes nothing more.
        let _ = self.open[&partition].1.send(labeled);
    }
}

async fn lane(mut input: mpsc::UnboundedReceiver<Labeled>, writer: Arc<Writer>) -> Result<()> {
    let mut waiting = None;
    loop {
        let next = match waiting.take() {
            Some(next) => Some(next),
            None => input.recv().await,
        };
        let Some(mut labeled) = next else { return Ok(()) };
        while labeled.rows() < MAX_ROWS && labeled.held.bytes() < MAX_BYTES {
            match input.try_recv() {
                Ok(next) if labeled.goes_with(&next) => labeled.append(next),
                Ok(next) => {
                    waiting = Some(next);
                    break;
                }
                Err(_) => break,
            }
        }
        if writer.write(labeled).await? == Outcome::Fenced {
            return Ok(());
        }
    }
}

impl Writer {
    /// Writes, however long Postgres is away.
    async fn write(&self, mut labeled: Labeled) -> Result<Outcome> {
        let mut backoff = Backoff::new(Duration::from_secs(5));
        loop {
            let started = Instant::now();
            match self.store.write(&self.stream, &labeled.write).await {
                Ok(Outcome::Written) => {
                    self.health.database.works();
                    self.metrics.write_seconds.observe(started.elapsed().as_secs_f64());
                    self.written(&labeled.write);
                    return Ok(Outcome::Written);
                }
                Ok(Outcome::Fenced) => {
                    self.fenced(&labeled.write);
                    return Ok(Outcome::Fenced);
                }
                Err(error) if error.is_transient() => {
                    if self.health.database.fails(error.to_string()) {
                        tracing::warn!(%error, "waiting for Postgres to write");
                    }
                    self.metrics.write_retries.inc();
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                Err(ref error @ StoreError::BadRow { kafka_offset, .. })
                    if labeled.isolate(kafka_offset, &error.to_string()) => {}
                // This partition's own trouble: the others go on.
                Err(error @ (StoreError::Failed(_) | StoreError::BadRow { .. })) => {
                    let Write { partition, epoch, .. } = labeled.write;
                    let _ = self.fenced.send(Fenced { partition, epoch, failed: Some(error.to_string()) });
                    return Ok(Outcome::Fenced);
                }
                Err(error) => {
                    let partition = labeled.write.partition;
                    return Err(error).with_context(|| format!("cannot write partition {partition}"));
                }
            }
        }
    }

    fn fenced(&self, write: &Write) {
        self.metrics.fenced.inc();
        tracing::info!(
            partition = write.partition,
            epoch = write.epoch.0,
            "another claim owns the partition: nothing written"
        );
        // The Kafka thread may have ended.
        let _ = self.fenced.send(Fenced { partition: write.partition, epoch: write.epoch, failed: None });
    }

    fn written(&self, write: &Write) {
        self.positions.written(write.partition, write.epoch, write.to);
        let metrics = &self.metrics;
        self.offers.offer(write, metrics);
        let now = Utc::now();
        for row in &write.predictions {
            if let Some(time) = row.record_time {
                metrics.latency_seconds.observe((now - time).as_seconds_f64().max(0.0));
            }
        }
        // A batch has few labels and few reasons: count them here, touch each counter once.
        for (label, count) in counted(write.predictions.iter().map(|row| &*row.label)) {
            metrics.predictions.get_or_create(&metrics::Label { label: label.to_owned() }).inc_by(count);
        }
        for (reason, count) in counted(write.dead_letters.iter().map(|row| row.reason)) {
            metrics.dead_letters.get_or_create(&metrics::Reason { reason }).inc_by(count);
        }
        metrics.tombstones.inc_by(write.tombstones);
        metrics.written(write.predictions.len() as u64 + write.tombstones, write.dead_letters.len() as u64);
    }
}

fn counted<'a>(words: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, u64> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labeled(from: i64, version: Option<i64>) -> Labeled {
        let row = |version| store::PredictionRow {
            kafka_offset: from,
            record_time: None,
            review_id: String::new(),
            text: String::new(),
            created_at: None,
            attributes: None,
            label: "good".into(),
            score: 1.0,
            scores: vec![1.0],
            version: store::Version(version),
            precision: "f32",
        };
        let write = Write {
            partition: 0,
            epoch: Epoch(1),
            from: NextOffset(from),
            to: NextOffset(from + 1),
            predictions: version.map(row).into_iter().collect(),
            dead_letters: Vec::new(),
            tombstones: u64::from(version.is_none()),
        };
        Labeled { write, records: Vec::new(), held: Held::default() }
    }

    #[test]
    fn what_two_versions_have_labeled_is_not_written_as_one() {
        assert!(labeled(0, Some(1)).goes_with(&labeled(1, Some(1))));
        assert!(!labeled(0, Some(1)).goes_with(&labeled(1, Some(2))));
        let mut bad_records_first = labeled(0, None);
        assert!(bad_records_first.goes_with(&labeled(1, Some(1))));
        bad_records_first.append(labeled(1, Some(1)));
        assert!(bad_records_first.goes_with(&labeled(2, None)) && !bad_records_first.goes_with(&labeled(2, Some(2))));
    }

    #[test]
    fn a_write_of_an_older_claim_or_a_lost_partition_is_not_noted() {
        let positions = Positions::default();
        let [old, new] = [Epoch(1), Epoch(2)];
        positions.claimed(0, new, NextOffset(10));
        positions.written(0, old, NextOffset(5));
        assert_eq!(positions.all()[&0], NextOffset(10));
        positions.written(0, new, NextOffset(20));
        assert_eq!(positions.all()[&0], NextOffset(20));
        positions.forget(&[0]);
        positions.written(0, new, NextOffset(30));
        assert!(positions.all().is_empty());
    }
}
