//! Predictions of older versions, labeled anew by a newer one.

use crate::models::Version;
use crate::{Store, StoreError};

/// Which prediction: the primary key of `prediction_rows`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PredictionKey {
    /// The record's offset.
    pub kafka_offset: i64,
    /// The record's partition.
    pub partition: i32,
    /// The number of the stream that it came in.
    pub stream_id: i32,
}

/// What a newer version says of a review that an older one has labeled.
#[derive(Debug, Clone, PartialEq)]
pub struct Rescored {
    /// Which prediction.
    pub key: PredictionKey,
    /// The most probable label.
    pub label: String,
    /// Its probability.
    pub score: f32,
    /// The probability of each label, in the order of the model's labels.
    pub scores: Vec<f32>,
    /// The version that says so.
    pub version: Version,
    /// What it computed with: `f32`, `bf16` or `int8`.
    pub precision: &'static str,
}

impl Store {
    /// Predictions by versions older than `older_than`, with their texts, after a key, in the order of the keys.
    ///
    /// The keys are ordered by offset first, as the primary key is, so that each page is read from where the last one ended.
    pub async fn predictions_to_rescore(
        &self,
        older_than: Version,
        after: Option<&PredictionKey>,
        limit: u32,
    ) -> Result<Vec<(PredictionKey, String)>, StoreError> {
        self.run(async |connection| {
            let rows: Vec<(i64, i32, i32, String)> = sqlx::query_as(
                "select kafka_offset, partition, stream_id, text from prediction_rows
                where version < $1 and (kafka_offset, partition, stream_id) > ($2, $3, $4)
                order by kafka_offset, partition, stream_id
                limit $5",
            )
            .bind(older_than)
            .bind(after.map_or(-1, |key| key.kafka_offset))
            .bind(after.map_or(-1, |key| key.partition))
            .bind(after.map_or(-1, |key| key.stream_id))
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?;
            let keyed = |(kafka_offset, partition, stream_id, text)| {
                (PredictionKey { kafka_offset, partition, stream_id }, text)
            };
            Ok(rows.into_iter().map(keyed).collect())
        })
        .await
    }

    /// How many predictions there are by versions older than `older_than`; counting stops at ten million.
    pub async fn count_to_rescore(&self, older_than: Version) -> Result<u64, StoreError> {
        self.run(async |connection| {
            let count: i64 = sqlx::query_scalar(
                "select count(*) from (select from prediction_rows where version < $1 limit 10000000) as older",
            )
            .bind(older_than)
            .fetch_one(connection)
            .await?;
            Ok(count.unsigned_abs())
        })
        .await
    }

    /// Writes what a newer version says, where the row's version is still older, and returns how many rows that were. When
    /// each row was first classified stays as it is.
    pub async fn rescore(&self, rescored: &[Rescored]) -> Result<u64, StoreError> {
        let column = |of: fn(&Rescored) -> &str| rescored.iter().map(of).collect::<Vec<_>>();
        // Arrays of arrays must be rectangular, and two versions may differ in their number of classes: so each row of scores
        // travels as text.
        let scores: Vec<String> = rescored.iter().map(|row| array(&row.scores)).collect();
        self.run(async |connection| {
            let updated = sqlx::query(
                "update prediction_rows as old
                set label = new.label, score = new.score, scores = new.scores::real[], version = new.version,
                    precision = new.precision
                from unnest($1::bigint[], $2::integer[], $3::integer[], $4::text[], $5::real[], $6::text[],
                    $7::bigint[], $8::text[])
                    as new (kafka_offset, partition, stream_id, label, score, scores, version, precision)
                where old.kafka_offset = new.kafka_offset and old.partition = new.partition
                    and old.stream_id = new.stream_id and old.version < new.version",
            )
            .bind(rescored.iter().map(|row| row.key.kafka_offset).collect::<Vec<_>>())
            .bind(rescored.iter().map(|row| row.key.partition).collect::<Vec<_>>())
            .bind(rescored.iter().map(|row| row.key.stream_id).collect::<Vec<_>>())
            .bind(column(|row| &row.label))
            .bind(rescored.iter().map(|row| row.score).collect::<Vec<_>>())
            .bind(scores)
            .bind(rescored.iter().map(|row| row.version.0).collect::<Vec<_>>())
            .bind(column(|row| row.precision))
            .execute(connection)
            .await?;
            Ok(updated.rows_affected())
        })
        .await
    }
}

/// A row of scores as Postgres reads an array.
fn array(scores: &[f32]) -> String {
    let scores: Vec<String> = scores.iter().map(f32::to_string).collect();
    format!("{{{}}}", scores.join(","))
}
