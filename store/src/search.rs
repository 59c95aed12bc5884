//! Predictions that people look for, and everything that is known of one review.
//!
//! A search reads the table from its end, some thousand blocks at a time, and stops when it has
//! enough or when its time is over: an answer takes a second at most, however large the table is,
//! and says from where to go on.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::columns::from_row;
use crate::labels::Label;
use crate::models::Version;
use crate::{Store, StoreError};

/// What predictions are looked for. What is `None` does not matter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Search {
    /// Of this pipeline.
    pub pipeline: String,
    /// The text holds this.
    pub text: Option<String>,
    /// The review has this id.
    pub review_id: Option<String>,
    /// The model said this.
    pub label: Option<String>,
    /// This version said it.
    pub version: Option<Version>,
    /// With this score at least.
    pub min_score: Option<f32>,
    /// With this score at most.
    pub max_score: Option<f32>,
    /// The attributes hold these fields.
    pub attributes: Option<Value>,
}

/// Where a search goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The block after the last one to read.
    pub end: i64,
    /// What was found in these blocks and shown already.
    pub skip: i64,
}

/// A prediction with its place.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Found {
    /// The topic of its record.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub kafka_offset: i64,
    /// The record's own timestamp.
    pub record_time: Option<DateTime<Utc>>,
    /// The id of the review.
    pub review_id: String,
    /// The text.
    pub text: String,
    /// When it was written, as the message says.
    pub created_at: Option<DateTime<Utc>>,
    /// The other fields of the message.
    pub attributes: Option<Value>,
    /// What the model said.
    pub label: String,
    /// How probable it found that.
    pub score: f32,
    /// The version.
    pub version: Version,
    /// When.
    pub classified_at: DateTime<Utc>,
}

from_row!(Found {
    topic,
    partition,
    kafka_offset,
    record_time,
    review_id,
    text,
    created_at,
    attributes,
    label,
    score,
    version,
    classified_at
});

/// What a search has found so far.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchPage {
    /// The newest first.
    pub found: Vec<Found>,
    /// From where it goes on; `None` where everything was read.
    pub next: Option<Cursor>,
}

/// What a challenger said of a review.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowSaid {
    /// The challenger.
    pub version: Version,
    /// What it said.
    pub label: String,
    /// How probable it found that.
    pub score: f32,
    /// When.
    pub scored_at: DateTime<Utc>,
}

from_row!(ShadowSaid { version, label, score, scored_at });

/// When a review was picked to be labeled.
#[derive(Debug, Clone, PartialEq)]
pub struct Picked {
    /// When.
    pub picked_at: DateTime<Utc>,
    /// Why.
    pub way: crate::Way,
}

from_row!(Picked { picked_at, way });

/// Everything that is known of a review.
#[derive(Debug, Clone, PartialEq)]
pub struct ReviewHistory {
    /// Its predictions, the newest first.
    pub predictions: Vec<Found>,
    /// What people said, the newest first.
    pub labels: Vec<Label>,
    /// What challengers said, the newest first.
    pub shadows: Vec<ShadowSaid>,
    /// When people were asked about it, the newest first.
    pub picks: Vec<Picked>,
}

/// Blocks of 8 KiB that are read at once: about a hundred thousand rows.
const STEP: i64 = 3_000;
/// How long a search goes on reading.
const PATIENCE: Duration = Duration::from_millis(500);
/// Rows of one review that are shown.
const MOST_ROWS: i64 = 200;

impl Store {
    /// Looks for predictions, the newest first, until `limit` are found or half a second has passed.
    pub async fn search(&self, search: &Search, from: Option<Cursor>, limit: usize) -> Result<SearchPage, StoreError> {
        if search.review_id.is_some() {
            let found = self.of_review(search, limit).await?;
            return Ok(SearchPage { found, next: None });
        }
        let started = Instant::now();
        let mut cursor = match from {
            Some(cursor) => cursor,
            None => Cursor { end: self.blocks().await?, skip: 0 },
        };
        let mut found = Vec::new();
        while found.len() < limit && cursor.end > 0 {
            let wanted = limit - found.len();
            let more = self.step(search, cursor, wanted + 1).await?;
            if more.len() > wanted {
                found.extend(more.into_iter().take(wanted));
                return Ok(SearchPage { found, next: Some(Cursor { skip: cursor.skip + wanted as i64, ..cursor }) });
            }
            found.extend(more);
            cursor = Cursor { end: cursor.end - STEP, skip: 0 };
            if started.elapsed() > PATIENCE {
                break;
            }
        }
        Ok(SearchPage { found, next: (cursor.end > 0).then_some(cursor) })
    }

    async fn blocks(&self) -> Result<i64, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar("select pg_relation_size('prediction_rows') / 8192").fetch_one(connection).await?)
        })
        .await
    }

    /// What some blocks hold of it.
    async fn step(&self, search: &Search, cursor: Cursor, limit: usize) -> Result<Vec<Found>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select topic, partition, kafka_offset, record_time, review_id, text, created_at, attributes, label,
                    score, version, classified_at
                from prediction_rows join streams as stream on stream.id = stream_id
                where prediction_rows.ctid >= format('(%s,0)', greatest(0, $1::bigint - $2::bigint))::tid
                    and prediction_rows.ctid < format('(%s,0)', $1::bigint)::tid
                    and pipeline = $3
                    and ($4::text is null or strpos(text, $4) > 0)
                    and ($5::text is null or label = $5)
                    and ($6::bigint is null or version = $6)
                    and ($7::real is null or score >= $7)
                    and ($8::real is null or score <= $8)
                    and ($9::jsonb is null or attributes @> $9)
                order by classified_at desc, kafka_offset desc offset $10 limit $11",
            )
            .bind(cursor.end)
            .bind(STEP)
            .bind(&search.pipeline)
            .bind(&search.text)
            .bind(&search.label)
            .bind(search.version)
            .bind(search.min_score)
            .bind(search.max_score)
            .bind(&search.attributes)
            .bind(cursor.skip)
            .bind(limit as i64)
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// The predictions of one review, of which an index tells.
    async fn of_review(&self, search: &Search, limit: usize) -> Result<Vec<Found>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select topic, partition, kafka_offset, record_time, review_id, text, created_at, attributes, label,
                    score, version, classified_at
                from prediction_rows join streams as stream on stream.id = stream_id
                where review_id = $1 and pipeline = $2
                    and ($3::text is null or strpos(text, $3) > 0)
                    and ($4::text is null or label = $4)
                    and ($5::bigint is null or version = $5)
                    and ($6::real is null or score >= $6)
                    and ($7::real is null or score <= $7)
                    and ($8::jsonb is null or attributes @> $8)
                order by classified_at desc, kafka_offset desc limit $9",
            )
            .bind(&search.review_id)
            .bind(&search.pipeline)
            .bind(&search.text)
            .bind(&search.label)
            .bind(search.version)
            .bind(search.min_score)
            .bind(search.max_score)
            .bind(&search.attributes)
            .bind(limit as i64)
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// Everything that is known of a review.
    pub async fn review_history(&self, pipeline: &str, review_id: &str) -> Result<ReviewHistory, StoreError> {
        let of_review =
            Search { pipeline: pipeline.to_owned(), review_id: Some(review_id.to_owned()), ..Search::default() };
        let predictions = self.of_review(&of_review, MOST_ROWS as usize).await?;
        let text = predictions.first().map(|found| found.text.clone());
        self.run(async |connection| {
            let labels = sqlx::query_as(
                "select id, review_id, text, label, labeled_by, labeled_at, source from labels
                where review_id = $1 or text = $2 order by labeled_at desc, id desc limit $3",
            );
            let shadows = sqlx::query_as(
                "select version, label, score, scored_at from shadow_predictions
                where review_id = $1 order by scored_at desc limit $2",
            );
            let picks = sqlx::query_as(
                "select picked_at, way from picks where review_id = $1 or text = $2 order by id desc limit $3",
            );
            Ok(ReviewHistory {
                labels: labels.bind(review_id).bind(&text).bind(MOST_ROWS).fetch_all(&mut *connection).await?,
                shadows: shadows.bind(review_id).bind(MOST_ROWS).fetch_all(&mut *connection).await?,
                picks: picks.bind(review_id).bind(&text).bind(MOST_ROWS).fetch_all(&mut *connection).await?,
                predictions,
            })
        })
        .await
    }

    /// The newest texts that were classified and that nobody has labeled, at most `limit`, with the
    /// ids of their reviews.
    pub async fn newest_unlabeled(&self, limit: u32) -> Result<Vec<(String, String)>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select review_id, text from prediction_rows as row
                where ctid >= (
                    select format('(%s,0)', greatest(0, pg_relation_size('prediction_rows') / 8192 - 300))::tid
                )
                    and not exists (select from labels where labels.review_id = row.review_id)
                    and not exists (select from labels where labels.text = row.text)
                order by ctid desc limit $1",
            )
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?)
        })
        .await
    }
}
