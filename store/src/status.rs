//! What `labelstream status` shows.

use chrono::{DateTime, Utc};

use crate::models::Version;
use crate::stream::{Epoch, NextOffset, Stream};
use crate::{Store, StoreError};

/// How one pipeline is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Every partition ever claimed, by cluster, topic and partition.
    pub partitions: Vec<PartitionStatus>,
    /// Predictions written in the last minute; counting stops at ten million.
    pub predictions_last_minute: i64,
    /// Predictions written in the last hour; counting stops at ten million.
    pub predictions_last_hour: i64,
    /// Dead letters of the last hour by reason, most frequent first.
    pub dead_letters_last_hour: Vec<(String, i64)>,
    /// The version that serves.
    pub champion: Option<Version>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionStatus {
    /// The stream that it belongs to.
    pub stream: Stream,
    /// Its number.
    pub partition: i32,
    /// The first offset whose effect is not in Postgres yet.
    pub next_offset: NextOffset,
    /// The newest claim.
    pub epoch: Epoch,
    /// Who holds it.
    pub owner: String,
    /// Since when.
    pub claimed_at: DateTime<Utc>,
    /// When the position last moved.
    pub updated_at: DateTime<Utc>,
    /// Predictions written so far.
    pub predictions: i64,
    /// Dead letters so far.
    pub dead_letters: i64,
    /// Records without a value so far.
    pub tombstones: i64,
    /// Why it last stood still; over if it is older than `updated_at`.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<DateTime<Utc>>,
}

impl Store {
    /// How the pipeline is doing, for people to read.
    pub async fn status(&self, pipeline: &str) -> Result<Status, StoreError> {
        todo!()
    }
}
