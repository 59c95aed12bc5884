//! Records that could not become reviews: listed, read byte for byte, marked as replayed.

use chrono::{DateTime, Utc};

use crate::stream::Stream;
use crate::{Store, StoreError};

/// Which record a dead letter was.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeadLetterId {
    /// The stream that it came in.
    pub stream: Stream,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub kafka_offset: i64,
}

/// A dead letter without its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Which record.
    pub id: DeadLetterId,
    /// The record's own timestamp.
    pub record_time: Option<DateTime<Utc>>,
    /// The stable code.
    pub reason: String,
    /// The sentence for people.
    pub detail: String,
    /// Bytes of the value; `None` where the record had none.
    pub payload_bytes: Option<i64>,
    /// When it was set aside.
    pub failed_at: DateTime<Utc>,
    /// When it was last published again.
    pub replayed_at: Option<DateTime<Utc>>,
}

/// Which dead letters; a field that is `None` or false asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// Of this pipeline.
    pub pipeline: Option<String>,
    /// From this topic.
    pub topic: Option<String>,
    /// With this code.
    pub reason: Option<String>,
    /// Set aside at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Only those that were never replayed.
    pub unreplayed: bool,
    /// At most so many.
    pub limit: Option<u32>,
}

/// A record as Kafka held it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub payload: Option<Vec<u8>>,
    /// The headers in their order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Store {
    /// The dead letters that the filter lets through, newest first.
    pub async fn dead_letters(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetter>, StoreError> {
        todo!()
    }

    /// The bytes of one dead letter; `None` where there is no such row.
    pub async fn raw_record(&self, id: &DeadLetterId) -> Result<Option<RawRecord>, StoreError> {
        todo!()
    }

    /// Notes that a dead letter was published again; it stays on record.
    pub async fn mark_replayed(&self, id: &DeadLetterId) -> Result<(), StoreError> {
        todo!()
    }
}
