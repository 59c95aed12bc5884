//! A record that ends the process: after two consumers have died at one position, the records there
//! are classified in small groups, each noted in Postgres before the model sees it and written
//! before the next is tried. The records of a group that ends its consumer too are tried one at a
//! time, and one that was tried three times becomes a dead letter.
//!
//! Dying is ending without a goodbye and without progress while records wait; a kill, or a machine
//! that goes, looks the same, and costs no more than some slow seconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;

use service::Backoff;
use store::{Epoch, NextOffset, Store, StoreError, Stream};
use tokio_util::sync::CancellationToken;

use crate::batch::Section;
use crate::message::Reason;
use crate::persist::{Fenced, Positions};

/// Consumers that must have died at a position before its records are suspected.
const CRASHES: i32 = 2;
/// Records that may have been on their way when a consumer died, and how many are tried at a time.
const SUSPECTS: (i64, usize) = (4_096, 64);
/// The same where a consumer has died of such a group.
const FEW_SUSPECTS: (i64, usize) = (128, 1);
/// How often a record is tried on its own.
const ATTEMPTS: i32 = 3;
/// Positions are looked at this often although no word of them came.
const LOOK: Duration = Duration::from_secs(1);

/// What Postgres knows of those who read, and died.
pub(crate) struct Careful {
    store: Store,
    stream: Stream,
    /// A name that no other process has, this one restarted included.
    reader: String,
    positions: Arc<Positions>,
    fenced: mpsc::Sender<Fenced>,
    abort: CancellationToken,
    tried: Mutex<Tried>,
}

/// What this process itself has tried.
#[derive(Default)]
struct Tried {
    /// The last in each partition: it lives, so it did not die of it.
    begun: BTreeMap<i32, NextOffset>,
    /// The last of all, up to where it goes.
    last: Option<(i32, Epoch, NextOffset)>,
}

/// Records before `until` are to be tried so many `at_a_time`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspicion {
    pub until: NextOffset,
    pub at_a_time: usize,
}

impl Careful {
    /// `fenced` hears of claims that are found lost.
    pub fn new(
        store: Store,
        stream: Stream,
        positions: Arc<Positions>,
        fenced: mpsc::Sender<Fenced>,
        abort: CancellationToken,
    ) -> Self {
        let started = chrono::Utc::now().to_rfc3339();
        let reader = format!("{} since {started}", service::owner());
        Self { store, stream, reader, positions, fenced, abort, tried: Mutex::default() }
    }

    /// Notes that this process reads the partitions, which are those where records wait, each from
    /// its position on. Returns what is suspected.
    pub async fn suspects(&self, reads: &[(i32, NextOffset)]) -> Result<BTreeMap<i32, Suspicion>, StoreError> {
        let partitions: Vec<i32> = reads.iter().map(|(partition, _)| *partition).collect();
        let crashes = self.store.note_reader(&self.stream, &partitions, &self.reader).await?;
        let crashes = BTreeMap::from_iter(crashes);
        let suspicion = |&(partition, next): &(i32, NextOffset)| {
            let crashes = *crashes.get(&partition)?;
            let (records, at_a_time) = match crashes {
                ..CRASHES => return None,
                CRASHES => SUSPECTS,
                _ => FEW_SUSPECTS,
            };
            tracing::warn!(partition, crashes, "consumers have died here: records are tried {at_a_time} at a time");
            Some((partition, Suspicion { until: NextOffset(next.0 + records), at_a_time }))
        };
        Ok(reads.iter().filter_map(suspicion).collect())
    }

    /// Notes that this process lives and reads the partitions no more, or any.
    pub async fn say_goodbye(&self, partitions: Option<&[i32]>) {
        if let Err(error) = self.store.say_goodbye(&self.stream, partitions, &self.reader).await {
            tracing::debug!(%error, "cannot say goodbye in Postgres");
        }
    }

    /// Prepares suspects for the model: waits until all before them is written, and the suspects
    /// before them, whose death would count as theirs; and notes the attempt. False where they need
    /// not be tried, because somebody else reads them or all ends.
    pub async fn attempt(&self, section: &mut Section) -> bool {
        if section.reviews.is_empty() {
            return true;
        }
        let last = self.tried().last.take();
        if let Some((partition, epoch, to)) = last {
            self.until_written(partition, epoch, to).await;
        }
        let (partition, epoch, from) = (section.partition, section.epoch, section.from);
        if !self.until_written(partition, epoch, from).await {
            return false;
        }
        self.tried().last = Some((partition, epoch, section.to));
        if self.tried().begun.insert(partition, from) == Some(from) {
            return true;
        }
        let alone = section.at_a_time == Some(1);
        let mut backoff = Backoff::new(Duration::from_secs(5));
        loop {
            match self.store.note_attempt(&self.stream, partition, epoch, from, alone).await {
                Ok(Some(attempts)) if attempts > ATTEMPTS => {
                    section.bury(&format!("the process ended {ATTEMPTS} times while it classified this record"));
                    let offset = from.0;
                    tracing::error!(partition, offset, "a record that ends the process: dead letter");
                    return true;
                }
                Ok(Some(_)) => return true,
                Ok(None) => {
                    self.positions.lost(partition, epoch);
                    // The Kafka thread may have ended.
                    let _ = self.fenced.send(Fenced { partition, epoch, failed: None });
                    return false;
                }
                Err(error) => {
                    tracing::warn!(%error, "waiting for Postgres to note which record is tried");
                    let waited = self.abort.run_until_cancelled(tokio::time::sleep(backoff.next_delay())).await;
                    if waited.is_none() {
                        return false;
                    }
                }
            }
        }
    }

    fn tried(&self) -> MutexGuard<'_, Tried> {
        self.tried.lock().expect("no holder panics")
    }

    /// False where the claim is lost or all ends before.
    async fn until_written(&self, partition: i32, epoch: Epoch, from: NextOffset) -> bool {
        loop {
            let changed = self.positions.changed();
            match self.positions.get(partition) {
                Some((owned, position)) if owned == epoch && position < from => {}
                Some((owned, _)) => return owned == epoch,
                None => return false,
            }
            let changed = tokio::time::timeout(LOOK, changed);
            if self.abort.run_until_cancelled(changed).await.is_none() {
                return false;
            }
        }
    }
}

impl Section {
    /// Makes a dead letter of its only review.
    fn bury(&mut self, detail: &str) {
        let records = std::mem::take(&mut self.reviews).into_iter();
        self.dead_letters.extend(records.map(|(record, _)| record.into_dead_letter(Reason::ProcessDied, detail)));
    }
}

#[cfg(test)]
mod tests {
    use harness::Storage;

    use super::*;
    use crate::in_flight::Held;
    use crate::message::{Record, Review};

    const FROM: NextOffset = NextOffset(7);

    struct Place {
        storage: Storage,
        stream: Stream,
        epoch: Epoch,
    }

    impl Place {
        /// A partition that is claimed and read.
        async fn new() -> Self {
            let storage = Storage::new().await;
            let [pipeline, cluster_id, topic] = ["labelstream", "a cluster", "reviews"].map(str::to_owned);
            let stream = Stream { pipeline, cluster_id, topic };
            let epoch = storage.store.claim(&stream, 0, "a test", FROM).await.unwrap().epoch;
            storage.store.note_reader(&stream, &[0], "a test").await.unwrap();
            Self { storage, stream, epoch }
        }

        /// A process that reads the partition.
        fn process(&self) -> (Careful, mpsc::Receiver<Fenced>) {
            let positions = Arc::new(Positions::default());
            positions.claimed(0, self.epoch, FROM);
            let (fenced, heard) = mpsc::channel();
            let store = self.storage.store.clone();
            (Careful::new(store, self.stream.clone(), positions, fenced, CancellationToken::new()), heard)
        }

        fn suspect(&self) -> Section {
            let review = Review { review_id: "r".to_owned(), text: "a".to_owned(), created_at: None, attributes: None };
            Section {
                partition: 0,
                epoch: self.epoch,
                from: FROM,
                to: NextOffset(FROM.0 + 1),
                at_a_time: Some(1),
                reviews: vec![(Record { offset: FROM.0, ..Record::default() }, review)],
                dead_letters: Vec::new(),
                tombstones: 0,
                held: Held::default(),
            }
        }
    }

    #[tokio::test]
    async fn a_claim_that_is_found_lost_is_said_and_its_position_forgotten() {
        let place = Place::new().await;
        let (careful, heard) = place.process();
        place.storage.store.claim(&place.stream, 0, "another", FROM).await.unwrap();
        assert!(!careful.attempt(&mut place.suspect()).await);
        let fenced = heard.try_recv().unwrap();
        assert_eq!((fenced.partition, fenced.epoch, fenced.failed), (0, place.epoch, None));
        assert_eq!(careful.positions.get(0), None, "what comes next of the partition would wait for it for ever");
    }

    #[tokio::test]
    async fn a_record_is_buried_by_the_fourth_process_and_never_by_the_first_however_often_it_tries() {
        let place = Place::new().await;
        let (first, _heard) = place.process();
        for _ in 0..10 {
            let mut suspect = place.suspect();
            assert!(first.attempt(&mut suspect).await && suspect.dead_letters.is_empty());
            // As after a halt: what was read is read again.
            first.tried().last = None;
        }
        for process in 2..=4 {
            let mut suspect = place.suspect();
            assert!(place.process().0.attempt(&mut suspect).await);
            assert_eq!(suspect.dead_letters.len(), usize::from(process == 4), "process {process}");
        }
    }
}
