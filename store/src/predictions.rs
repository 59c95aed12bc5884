//! What was written of a stream, read back: for whoever watches it land.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::columns::from_row;
use crate::models::Version;
use crate::stream::{NextOffset, Stream};
use crate::{Store, StoreError};

/// A prediction, as people read it.
#[derive(Debug, Clone, PartialEq)]
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

from_row!(Predicted { kafka_offset, record_time, review_id, text, label, score, version, classified_at });

impl Store {
    /// The predictions of a partition from an offset on, in the order of the records, at most
    /// `limit`.
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
                from prediction_rows
                where stream_id = (select id from streams where pipeline = $1 and cluster_id = $2 and topic = $3)
                    and partition = $4 and kafka_offset >= $5
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

    /// The reviews most worth labeling: of each review that no label names, by its id or by its
    /// text, the newest prediction, least certain first.
    ///
    /// Those with a score below 0.75 are read from an index. Only where there are not enough of
    /// them, the rest is chosen from the records of the highest offsets.
    pub async fn least_certain(&self, limit: u32) -> Result<Vec<Predicted>, StoreError> {
        self.run(async |connection| {
            let mut reviews = uncertain(connection, i64::from(limit)).await?;
            let rest = i64::from(limit) - reviews.len() as i64;
            if rest > 0 {
                reviews.extend(certain(connection, rest).await?);
            }
            Ok(reviews)
        })
        .await
    }

    /// Whether any review was ever labeled by a model.
    pub async fn has_predictions(&self) -> Result<bool, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar("select exists (select from prediction_rows)").fetch_one(connection).await?)
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

    /// How many records are behind the positions of a pipeline, by the counts kept beside them;
    /// none before its first claim.
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

async fn uncertain(connection: &mut PgConnection, limit: i64) -> Result<Vec<Predicted>, StoreError> {
    let uncertain = sqlx::query_as(
        "select kafka_offset, record_time, review_id, text, label, score, version, classified_at
        from prediction_rows as prediction
        where score < 0.75
            and not exists (select from labels where labels.review_id = prediction.review_id)
            and not exists (select from labels where labels.text = prediction.text)
            and not exists (
                select from prediction_rows as newer
                where newer.review_id = prediction.review_id
                    and (newer.classified_at, newer.kafka_offset) > (prediction.classified_at, prediction.kafka_offset)
            )
        order by score limit $1",
    );
    Ok(uncertain.bind(limit).fetch_all(connection).await?)
}

async fn certain(connection: &mut PgConnection, limit: i64) -> Result<Vec<Predicted>, StoreError> {
    let certain = sqlx::query_as(
        "select kafka_offset, record_time, review_id, text, label, score, version, classified_at
        from (
            select kafka_offset, record_time, review_id, text, label, score, version, classified_at
            from prediction_rows order by kafka_offset desc limit 20000
        ) as prediction
        where score >= 0.75
            and not exists (select from labels where labels.review_id = prediction.review_id)
            and not exists (select from labels where labels.text = prediction.text)
            and not exists (
                select from prediction_rows as newer
                where newer.review_id = prediction.review_id
                    and (newer.classified_at, newer.kafka_offset) > (prediction.classified_at, prediction.kafka_offset)
            )
        order by score limit $1",
    );
    Ok(certain.bind(limit).fetch_all(connection).await?)
}
