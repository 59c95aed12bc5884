//! Challengers beside the champion: which one scores a share of the stream, and what it said.

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};

use crate::columns::from_row;
use crate::models::{Model, Version, models};
use crate::predictions::Predicted;
use crate::stream::Stream;
use crate::{Store, StoreError};

/// A challenger that scores a share of the stream, or did.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Shadow {
    /// Counts up.
    pub id: i64,
    /// The challenger.
    pub version: Version,
    /// The share of the records, and the most of the time, that it may have.
    pub share: f64,
    /// Why, in the words of whoever or whatever began it.
    pub why: String,
    /// Since when.
    pub started_at: DateTime<Utc>,
    /// Until when; `None` while it goes on.
    pub stopped_at: Option<DateTime<Utc>>,
}

from_row!(Shadow { id, version, share, why, started_at, stopped_at });

/// What a challenger says of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowRow {
    /// The record's partition.
    pub partition: i32,
    /// Its offset.
    pub kafka_offset: i64,
    /// What the champion had said.
    pub champion_label: String,
    /// Which version that was.
    pub champion_version: Version,
    /// What the challenger says.
    pub label: String,
    /// How probable it finds that.
    pub score: f32,
}

/// How often two models say the same.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ShadowCount {
    /// What the champion had said.
    pub champion_label: String,
    /// What the challenger says.
    pub label: String,
    /// Of how many records.
    pub records: i64,
    /// Of those, the ones that a person has labeled.
    pub labeled: i64,
    /// Of those, the ones where the champion is right.
    pub champion_right: i64,
    /// And those where the challenger is.
    pub challenger_right: i64,
}

from_row!(ShadowCount { champion_label, label, records, labeled, champion_right, challenger_right });

impl Store {
    /// Lets a version score a share of the stream beside the champion; one that does so already
    /// ends.
    ///
    /// # Errors
    /// [`StoreError::NoSuchModel`], [`StoreError::Collected`].
    pub async fn start_shadow(&self, version: Version, share: f64, why: &str) -> Result<Shadow, StoreError> {
        self.run(async |connection| {
            let mut transaction = connection.begin().await?;
            let shadow = start(&mut transaction, version, share, why).await?;
            transaction.commit().await?;
            Ok(shadow)
        })
        .await
    }

    /// Ends the shadow that goes on, and returns it.
    pub async fn stop_shadow(&self) -> Result<Option<Shadow>, StoreError> {
        self.run(async |connection| stop(connection).await).await
    }

    /// The shadow that goes on, with its model.
    pub async fn shadow(&self) -> Result<Option<(Shadow, Model)>, StoreError> {
        self.run(async |connection| {
            let shadow: Option<Shadow> = sqlx::query_as(
                "select id, version, share, why, started_at, stopped_at from shadows where stopped_at is null",
            )
            .fetch_optional(&mut *connection)
            .await?;
            let Some(shadow) = shadow else { return Ok(None) };
            let model = models(connection, Some(shadow.version)).await?.pop();
            Ok(model.map(|model| (shadow, model)))
        })
        .await
    }

    /// The newest shadow of a version, or of any.
    pub async fn last_shadow(&self, version: Option<Version>) -> Result<Option<Shadow>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select id, version, share, why, started_at, stopped_at from shadows
                where $1::bigint is null or version = $1 order by id desc limit 1",
            )
            .bind(version)
            .fetch_optional(connection)
            .await?)
        })
        .await
    }

    /// Puts down what a challenger says; what is there already stays.
    pub async fn record_shadow(&self, shadow: i64, stream: &Stream, rows: &[ShadowRow]) -> Result<(), StoreError> {
        self.run(async |connection| {
            sqlx::query(
                "insert into shadow_rows
                    (shadow_id, stream_id, partition, kafka_offset, champion_label, champion_version, label, score)
                select $1, stream.id, partition, kafka_offset, champion_label, champion_version, label, score
                from unnest($5::integer[], $6::bigint[], $7::text[], $8::bigint[], $9::text[], $10::real[])
                    as said (partition, kafka_offset, champion_label, champion_version, label, score),
                    streams as stream
                where stream.pipeline = $2 and stream.cluster_id = $3 and stream.topic = $4
                on conflict do nothing",
            )
            .bind(shadow)
            .bind(&stream.pipeline)
            .bind(&stream.cluster_id)
            .bind(&stream.topic)
            .bind(rows.iter().map(|row| row.partition).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.kafka_offset).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.champion_label.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.champion_version.0).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.label.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.score).collect::<Vec<_>>())
            .execute(connection)
            .await?;
            Ok(())
        })
        .await
    }

    /// How often challenger and champion said each pair of labels, the most frequent first.
    pub async fn shadow_counts(&self, shadow: i64) -> Result<Vec<ShadowCount>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select champion_label, row.label, count(*) as records, count(answer.label) as labeled,
                    count(*) filter (where answer.label = champion_label) as champion_right,
                    count(*) filter (where answer.label = row.label) as challenger_right
                from shadow_rows as row
                left join prediction_rows as prediction using (kafka_offset, partition, stream_id)
                left join lateral (
                    select label from labels
                    where labels.review_id = prediction.review_id or labels.text = prediction.text
                    order by labeled_at desc, id desc limit 1
                ) as answer on true
                where shadow_id = $1
                group by champion_label, row.label order by count(*) desc, champion_label, row.label",
            )
            .bind(shadow)
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// Reviews of which the newest challenger said something else than the champion, and that
    /// nobody has labeled; those of which it is surest first.
    pub async fn shadow_disagreements(&self, limit: u32) -> Result<Vec<Predicted>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select kafka_offset, record_time, review_id, text, prediction.label, prediction.score,
                    prediction.version, classified_at
                from shadow_rows as row
                join prediction_rows as prediction using (kafka_offset, partition, stream_id)
                where shadow_id = (select max(id) from shadows) and row.label <> champion_label
                    and not exists (select from labels where labels.review_id = prediction.review_id)
                    and not exists (select from labels where labels.text = prediction.text)
                order by row.score desc limit $1",
            )
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?)
        })
        .await
    }
}

/// Starts a shadow in a transaction that may do more.
pub(crate) async fn start(
    connection: &mut PgConnection,
    version: Version,
    share: f64,
    why: &str,
) -> Result<Shadow, StoreError> {
    sqlx::query("lock table shadows in share row exclusive mode").execute(&mut *connection).await?;
    stop(connection).await?;
    let shadow: Option<Shadow> = sqlx::query_as(
        "insert into shadows (version, share, why)
        select $1, $2, $3 from models where version = $1 and collected_at is null
        returning id, version, share, why, started_at, stopped_at",
    )
    .bind(version)
    .bind(share)
    .bind(why)
    .fetch_optional(&mut *connection)
    .await?;
    match shadow {
        Some(shadow) => Ok(shadow),
        None => Err(crate::promote::refused(connection, version).await?),
    }
}

async fn stop(connection: &mut PgConnection) -> Result<Option<Shadow>, StoreError> {
    Ok(sqlx::query_as(
        "update shadows set stopped_at = now() where stopped_at is null
        returning id, version, share, why, started_at, stopped_at",
    )
    .fetch_optional(connection)
    .await?)
}
