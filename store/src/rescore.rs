//! Predictions of older versions, labeled anew by a newer one.

use sqlx::{Connection, PgConnection};

use crate::models::Version;
use crate::{Store, StoreError};

/// Which prediction: the primary key of `prediction_rows`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

/// A pass over the predictions: what versions before `older_than` said is said again by `version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RescorePass {
    /// The version that labels.
    pub version: Version,
    /// Whose predictions are left as they are, and all after it.
    pub older_than: Version,
}

/// What comes next in a pass.
#[derive(Debug, Clone, PartialEq)]
pub struct RescorePage {
    /// Predictions by older versions, with their texts.
    pub rows: Vec<(PredictionKey, String)>,
    /// Up to where the predictions were looked at; `None` at their end.
    pub looked_at: Option<PredictionKey>,
}

/// Rows that are looked at for a page, at most: however many there are that a pass has done already,
/// each page is a short statement.
const LOOKED_AT: i64 = 10_000;

impl Store {
    /// The next predictions of a pass, at most `limit`, after a key, in the order of the keys.
    ///
    /// The keys are ordered by offset first, as the primary key is, so that each page is read from
    /// where the last one ended. A page may be empty and still not be the last.
    pub async fn predictions_to_rescore(
        &self,
        pass: &RescorePass,
        after: Option<&PredictionKey>,
        limit: u32,
    ) -> Result<RescorePage, StoreError> {
        let (offset, partition, stream) =
            after.map_or((-1, -1, -1), |key| (key.kafka_offset, key.partition, key.stream_id));
        self.run(async |connection| {
            let rows: Vec<(i64, i32, i32, String)> = sqlx::query_as(
                "select kafka_offset, partition, stream_id, text from (
                    select kafka_offset, partition, stream_id, version, text from prediction_rows
                    where (kafka_offset, partition, stream_id) > ($2, $3, $4)
                    order by kafka_offset, partition, stream_id limit $6
                ) as looked_at
                where version < $1 order by kafka_offset, partition, stream_id limit $5",
            )
            .bind(pass.older_than)
            .bind(offset)
            .bind(partition)
            .bind(stream)
            .bind(i64::from(limit))
            .bind(LOOKED_AT)
            .fetch_all(&mut *connection)
            .await?;
            let keyed = |(kafka_offset, partition, stream_id, text)| {
                (PredictionKey { kafka_offset, partition, stream_id }, text)
            };
            let rows: Vec<(PredictionKey, String)> = rows.into_iter().map(keyed).collect();
            if rows.len() == limit as usize {
                let looked_at = rows.last().map(|(key, _)| key.clone());
                return Ok(RescorePage { rows, looked_at });
            }
            let last: Option<(i64, i32, i32)> = sqlx::query_as(
                "select kafka_offset, partition, stream_id from (
                    select kafka_offset, partition, stream_id from prediction_rows
                    where (kafka_offset, partition, stream_id) > ($1, $2, $3)
                    order by kafka_offset, partition, stream_id limit $4
                ) as looked_at
                order by kafka_offset desc, partition desc, stream_id desc limit 1",
            )
            .bind(offset)
            .bind(partition)
            .bind(stream)
            .bind(LOOKED_AT)
            .fetch_optional(connection)
            .await?;
            let looked_at =
                last.map(|(kafka_offset, partition, stream_id)| PredictionKey { kafka_offset, partition, stream_id });
            Ok(RescorePage { rows, looked_at })
        })
        .await
    }

    /// How many predictions there are by versions older than `older_than`; counting stops at ten
    /// million. `None` where it takes too long.
    pub async fn count_to_rescore(&self, older_than: Version) -> Result<Option<u64>, StoreError> {
        self.run(async |connection| {
            let mut transaction = connection.begin().await?;
            sqlx::query("select set_config('statement_timeout', '5s', true)").execute(&mut *transaction).await?;
            let count: sqlx::Result<i64> = sqlx::query_scalar(
                "select count(*) from (select from prediction_rows where version < $1 limit 10000000) as older",
            )
            .bind(older_than)
            .fetch_one(&mut *transaction)
            .await;
            transaction.rollback().await?;
            match count {
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("57014") => Ok(None),
                count => Ok(Some(count?.unsigned_abs())),
            }
        })
        .await
    }

    /// Where an interrupted pass is to go on.
    pub async fn rescored_up_to(&self, pass: &RescorePass) -> Result<Option<PredictionKey>, StoreError> {
        self.run(async |connection| {
            let stands: Option<(i64, i32, i32)> = sqlx::query_as(
                "select kafka_offset, partition, stream_id from rescores where version = $1 and older_than = $2",
            )
            .bind(pass.version)
            .bind(pass.older_than)
            .fetch_optional(connection)
            .await?;
            let key = |(kafka_offset, partition, stream_id)| PredictionKey { kafka_offset, partition, stream_id };
            Ok(stands.map(key))
        })
        .await
    }

    /// Forgets where a pass stands that is through, and those of older versions.
    pub async fn end_rescore(&self, pass: &RescorePass) -> Result<(), StoreError> {
        self.run(async |connection| {
            sqlx::query("delete from rescores where version < $1 or version = $1 and older_than = $2")
                .bind(pass.version)
                .bind(pass.older_than)
                .execute(connection)
                .await?;
            Ok(())
        })
        .await
    }

    /// Writes what a newer version says, where the row's version is still older, and how far the
    /// pass has come, in one transaction; returns how many rows that were. When each row was first
    /// classified stays as it is.
    pub async fn rescore(
        &self,
        pass: &RescorePass,
        rescored: &[Rescored],
        looked_at: &PredictionKey,
    ) -> Result<u64, StoreError> {
        self.run(async |connection| {
            let mut transaction = connection.begin().await?;
            let updated = update(&mut transaction, rescored).await?;
            sqlx::query(
                "insert into rescores as stands (version, older_than, kafka_offset, partition, stream_id)
                values ($1, $2, $3, $4, $5)
                on conflict (version, older_than) do update
                set kafka_offset = excluded.kafka_offset, partition = excluded.partition,
                    stream_id = excluded.stream_id, updated_at = now()
                where (excluded.kafka_offset, excluded.partition, excluded.stream_id)
                    > (stands.kafka_offset, stands.partition, stands.stream_id)",
            )
            .bind(pass.version)
            .bind(pass.older_than)
            .bind(looked_at.kafka_offset)
            .bind(looked_at.partition)
            .bind(looked_at.stream_id)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(updated)
        })
        .await
    }
}

async fn update(connection: &mut PgConnection, rescored: &[Rescored]) -> Result<u64, StoreError> {
    let column = |of: fn(&Rescored) -> &str| rescored.iter().map(of).collect::<Vec<_>>();
    // Arrays of arrays must be rectangular, and two versions may differ in their number of classes:
    // so each row of scores travels as text.
    let scores: Vec<String> = rescored.iter().map(|row| array(&row.scores)).collect();
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
}

/// A row of scores as Postgres reads an array.
fn array(scores: &[f32]) -> String {
    let scores: Vec<String> = scores.iter().map(f32::to_string).collect();
    format!("{{{}}}", scores.join(","))
}
