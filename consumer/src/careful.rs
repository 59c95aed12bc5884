//! A record that ends the process: after two consumers have died at one position, the records there
//! are classified one at a time, each noted in Postgres before the model sees it and written before
//! the next is tried. One that was tried three times becomes a dead letter.
//!
//! Dying is ending without a goodbye and without progress; a kill, or a machine that goes, looks
//! the same, and costs no more than some slow seconds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use service::Backoff;
use store::{Epoch, NextOffset, Store, Stream};
use tokio_util::sync::CancellationToken;

use crate::batch::Section;
use crate::message::Reason;
use crate::persist::Positions;

/// Consumers that must have died at a position before its records are suspected.
const CRASHES: i32 = 2;
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
    abort: CancellationToken,
}

impl Careful {
    pub fn new(store: Store, stream: Stream, positions: Arc<Positions>, abort: CancellationToken) -> Self {
        let started = chrono::Utc::now().to_rfc3339();
        Self { store, stream, reader: format!("{} since {started}", service::owner()), positions, abort }
    }

    /// Notes that this process reads the partitions, and says where others have died. Without an
    /// answer of Postgres nothing is suspected.
    pub async fn suspects(&self, partitions: &[i32]) -> BTreeSet<i32> {
        let noted = self.store.note_reader(&self.stream, partitions, &self.reader).await;
        let crashed = noted.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot look whether consumers have died at these positions");
            Vec::new()
        });
        let suspects = crashed.into_iter().filter(|(_, crashes)| *crashes >= CRASHES);
        suspects
            .map(|(partition, crashes)| {
                tracing::warn!(partition, crashes, "consumers have died here: records are tried one at a time");
                partition
            })
            .collect()
    }

    /// Notes that this process lives and reads the partitions no more, or any.
    pub async fn say_goodbye(&self, partitions: Option<&[i32]>) {
        if let Err(error) = self.store.say_goodbye(&self.stream, partitions, &self.reader).await {
            tracing::debug!(%error, "cannot say goodbye in Postgres");
        }
    }

    /// Prepares one record for the model: waits until all before it is written, and notes the
    /// attempt. False where it need not be tried, because somebody else reads it or all ends.
    pub async fn attempt(&self, section: &mut Section) -> bool {
        let Some(offset) = section.reviews.first().map(|(record, _)| record.offset) else { return true };
        if !self.until_written(section.partition, section.epoch, section.from).await {
            return false;
        }
        let mut backoff = Backoff::new(Duration::from_secs(5));
        loop {
            match self.store.note_attempt(&self.stream, section.partition, section.epoch, offset).await {
                Ok(Some(attempts)) if attempts > ATTEMPTS => {
                    section.bury(&format!("the process ended {ATTEMPTS} times while it classified this record"));
                    tracing::error!(
                        partition = section.partition,
                        offset,
                        "a record that ends the process: dead letter"
                    );
                    return true;
                }
                Ok(attempts) => return attempts.is_some(),
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
