//! One partition's batch, written in one transaction behind the fence.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::models::Version;
use crate::stream::{Epoch, NextOffset, Outcome, Stream};
use crate::{Store, StoreError};

/// The effects of the records of one partition from one position to the next.
#[derive(Debug, Clone)]
pub struct Write {
    /// The partition.
    pub partition: i32,
    /// The claim under which this is written.
    pub epoch: Epoch,
    /// The position that the write starts at: must be the one in Postgres.
    pub from: NextOffset,
    /// The position that it leaves; beyond every offset in the rows. Offsets have holes, so this is more than a count.
    pub to: NextOffset,
    /// What the model said.
    pub predictions: Vec<PredictionRow>,
    /// The records that could not become reviews.
    pub dead_letters: Vec<DeadLetterRow>,
    /// How many records had no value; they are counted and leave nothing else.
    pub tombstones: u64,
}

/// A row of `predictions`.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionRow {
    /// Offset of the record.
    pub kafka_offset: i64,
    /// The record's own timestamp.
    pub record_time: Option<DateTime<Utc>>,
    /// The id of the review.
    pub review_id: String,
    /// The text that was classified; no NUL.
    pub text: String,
    /// When the review was written, as the message says.
    pub created_at: Option<DateTime<Utc>>,
    /// The message's other fields: the text of a JSON object.
    pub attributes: Option<String>,
    /// The most probable label.
    pub label: Arc<str>,
    /// Its probability.
    pub score: f32,
    /// The probability of each label, in the order of the model's labels.
    pub scores: Vec<f32>,
    /// The version that said so.
    pub version: Version,
}

/// A row of `dead_letters`.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetterRow {
    /// Offset of the record.
    pub kafka_offset: i64,
    /// The record's own timestamp.
    pub record_time: Option<DateTime<Utc>>,
    /// A stable code: people group and filter by it.
    pub reason: &'static str,
    /// A sentence for people; no NUL.
    pub detail: String,
    /// The key, byte for byte.
    pub key: Option<Vec<u8>>,
    /// The value, byte for byte.
    pub payload: Option<Vec<u8>>,
    /// The headers in their order, byte for byte.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Store {
    /// Writes a batch and moves the position, both or neither.
    ///
    /// May be called again with the same `write` after any transient error, an unknown outcome of the commit among
    /// them: what was committed is recognised by its position, and is not written twice.
    ///
    /// # Errors
    /// [`StoreError::BadRow`] names the offset of a row that Postgres cannot hold; nothing was written.
    pub async fn write(&self, stream: &Stream, write: &Write) -> Result<Outcome, StoreError> {
        todo!()
    }
}
