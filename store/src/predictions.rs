//! What was written of a stream, read back: for whoever watches it land.

use chrono::{DateTime, Utc};

use crate::models::Version;
use crate::stream::{NextOffset, Stream};
use crate::{Store, StoreError};

/// A prediction, as people read it.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Predicted {
    /// The offset of the record.
    pub kafka_offset: i64,
    /// The record's own timestamp.
    pub record_time: Option<DateTime<Utc>>,
    /// The id of the review.
    pub review_id: String,
    /// The text that was classified.
    pub text: String,
    /// The most probable label.
    pub label: String,
    /// Its probability.
    pub score: f32,
    /// The version that said so.
    pub version: Version,
    /// When this was written.
    pub classified_at: DateTime<Utc>,
}

impl Store {
    /// The predictions of a partition from an offset on, in the order of the records, at most `limit`.
    pub async fn predictions(
        &self,
        stream: &Stream,
        partition: i32,
        from: NextOffset,
        limit: u32,
    ) -> Result<Vec<Predicted>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select kafka_offset, record_time, review_id, text, label, score, version, classified_at
                from predictions
                where pipeline = $1 and cluster_id = $2 and topic = $3 and partition = $4 and kafka_offset >= $5
                order by kafka_offset limit $6",
            )
            .bind(&stream.pipeline)
            .bind(&stream.cluster_id)
            .bind(&stream.topic)
            .bind(partition)
            .bind(from.0)
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// How many predictions of a pipeline there are, counted row by row.
    pub async fn count_predictions(&self, pipeline: &str) -> Result<i64, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar("select count(*) from predictions where pipeline = $1")
                .bind(pipeline)
                .fetch_one(connection)
                .await?)
        })
        .await
    }

    /// How many records are behind the positions of a pipeline, by the counts kept beside them; none before its first claim.
    pub async fn progress(&self, pipeline: &str) -> Result<Option<i64>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar(
                "select sum(predictions + dead_letters + tombstones)::bigint from positions where pipeline = $1",
            )
            .bind(pipeline)
            .fetch_one(connection)
            .await?)
        })
        .await
    }
}
