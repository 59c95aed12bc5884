//! Records that could not become reviews: listed, read byte for byte, marked as replayed.

use chrono::{DateTime, Utc};

use crate::columns::from_row;
use crate::stream::Stream;
use crate::{Store, StoreError};

/// Which record a dead letter was.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct DeadLetterId {
    /// The stream that it came in.
    #[serde(flatten)]
    pub stream: Stream,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub kafka_offset: i64,
}

from_row!(DeadLetterId { partition, kafka_offset, ..stream });

/// A dead letter without its bytes.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct DeadLetter {
    /// Which record.
    #[serde(flatten)]
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

from_row!(DeadLetter { record_time, reason, detail, payload_bytes, failed_at, replayed_at, ..id });

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
        self.run(async |connection| {
            let dead_letters = sqlx::query_as(
                "select pipeline, cluster_id, topic, partition, kafka_offset, record_time, reason, detail,
                    octet_length(payload)::bigint as payload_bytes, failed_at, replayed_at
                from dead_letters
                where ($1::text is null or pipeline = $1)
                    and ($2::text is null or topic = $2)
                    and ($3::text is null or reason = $3)
                    and ($4::timestamptz is null or failed_at >= $4)
                    and (not $5 or replayed_at is null)
                order by failed_at desc, kafka_offset desc
                limit $6",
            )
            .bind(&filter.pipeline)
            .bind(&filter.topic)
            .bind(&filter.reason)
            .bind(filter.since)
            .bind(filter.unreplayed)
            .bind(filter.limit.map(i64::from))
            .fetch_all(connection)
            .await?;
            Ok(dead_letters)
        })
        .await
    }

    /// The bytes of one dead letter; `None` where there is no such row.
    pub async fn raw_record(&self, id: &DeadLetterId) -> Result<Option<RawRecord>, StoreError> {
        self.run(async |connection| {
            let row: Option<RawRow> = sqlx::query_as(
                "select key, payload, header_names, header_values from dead_letter_rows
                where stream_id = (select id from streams where pipeline = $1 and cluster_id = $2 and topic = $3)
                    and partition = $4 and kafka_offset = $5",
            )
            .bind(&id.stream.pipeline)
            .bind(&id.stream.cluster_id)
            .bind(&id.stream.topic)
            .bind(id.partition)
            .bind(id.kafka_offset)
            .fetch_optional(connection)
            .await?;
            Ok(row.map(RawRow::into_record))
        })
        .await
    }

    /// Notes that a dead letter was published again; it stays on record.
    pub async fn mark_replayed(&self, id: &DeadLetterId) -> Result<(), StoreError> {
        self.run(async |connection| {
            sqlx::query(
                "update dead_letter_rows set replayed_at = now()
                where stream_id = (select id from streams where pipeline = $1 and cluster_id = $2 and topic = $3)
                    and partition = $4 and kafka_offset = $5",
            )
            .bind(&id.stream.pipeline)
            .bind(&id.stream.cluster_id)
            .bind(&id.stream.topic)
            .bind(id.partition)
            .bind(id.kafka_offset)
            .execute(connection)
            .await?;
            Ok(())
        })
        .await
    }
}

struct RawRow {
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    header_names: Vec<String>,
    header_values: Vec<Option<Vec<u8>>>,
}

from_row!(RawRow { key, payload, header_names, header_values });

impl RawRow {
    fn into_record(self) -> RawRecord {
        let headers = self.header_names.into_iter().zip(self.header_values).collect();
        RawRecord { key: self.key, payload: self.payload, headers }
    }
}
