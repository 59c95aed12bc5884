//! What the stream looks like, hour by hour, and what a version saw first.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::columns::from_row;
use crate::models::Version;
use crate::{Store, StoreError};

/// A prediction, as far as it tells what the stream looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The text.
    pub text: String,
    /// What the version said.
    pub label: String,
    /// The probabilities of all classes.
    pub scores: Vec<f32>,
    /// When.
    pub classified_at: DateTime<Utc>,
}

from_row!(Seen { text, label, scores, classified_at });

/// What a version saw first.
#[derive(Debug, Clone, PartialEq)]
pub struct DriftReference {
    /// The time of the first prediction in it.
    pub first_at: DateTime<Utc>,
    /// The time of the last one.
    pub last_at: DateTime<Utc>,
    /// What it looks like.
    pub profile: Value,
    /// The n-grams of its first half, as bits.
    pub known: Vec<u8>,
}

from_row!(DriftReference { first_at, last_at, profile, known });

/// What a version saw in an hour.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct DriftHour {
    /// The version.
    pub version: Version,
    /// When the hour began.
    pub hour: DateTime<Utc>,
    /// Predictions in the sample.
    pub predictions: i64,
    /// Mean of the calibrated scores.
    pub expected_accuracy: f64,
    /// What it looks like.
    pub profile: Value,
    /// How it differs from what the version saw first.
    pub changes: Value,
    /// Which of the changes are alarms.
    pub alarms: Vec<String>,
}

from_row!(DriftHour { version, hour, predictions, expected_accuracy, profile, changes, alarms });

impl Store {
    /// Predictions of a version from one time up to another, at most `limit`, drawn at random.
    pub async fn seen(
        &self,
        version: Version,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Seen>, StoreError> {
        self.run(async |connection| {
            // The draw first, over narrow rows.
            Ok(sqlx::query_as(
                "select text, label, scores, classified_at from prediction_rows
                where ctid = any (array(
                    select ctid from prediction_rows
                    where classified_at >= $2 and classified_at < $3 and version = $1
                    order by random() limit $4
                ))
                order by classified_at",
            )
            .bind(version)
            .bind(from)
            .bind(to)
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// What a version's logits are divided by for its scores to be as high as they are right; 1
    /// where nobody has measured it.
    pub async fn temperature(&self, version: Version) -> Result<f64, StoreError> {
        self.run(async |connection| {
            let temperature: Option<f64> = sqlx::query_scalar(
                "select (metrics->>'temperature')::float8 from models
                where version = $1 and jsonb_typeof(metrics->'temperature') = 'number'",
            )
            .bind(version)
            .fetch_optional(connection)
            .await?
            .flatten();
            Ok(temperature.filter(|temperature| *temperature > 0.0).unwrap_or(1.0))
        })
        .await
    }

    /// When a version first became champion.
    pub async fn first_deployed(&self, version: Version) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_scalar("select min(deployed_at) from deployments where version = $1 and alias = 'champion'")
                .bind(version)
                .fetch_one(connection)
                .await?)
        })
        .await
    }

    /// What a version saw first, if that is on record.
    pub async fn drift_reference(&self, version: Version) -> Result<Option<DriftReference>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as("select first_at, last_at, profile, known from drift_references where version = $1")
                .bind(version)
                .fetch_optional(connection)
                .await?)
        })
        .await
    }

    /// Puts down what a version saw first; what is on record already stays.
    pub async fn record_drift_reference(&self, version: Version, reference: &DriftReference) -> Result<(), StoreError> {
        self.run(async |connection| {
            sqlx::query(
                "insert into drift_references (version, first_at, last_at, profile, known)
                values ($1, $2, $3, $4, $5) on conflict do nothing",
            )
            .bind(version)
            .bind(reference.first_at)
            .bind(reference.last_at)
            .bind(&reference.profile)
            .bind(&reference.known)
            .execute(connection)
            .await?;
            Ok(())
        })
        .await
    }

    /// Puts down an hour, in place of what is on record of it.
    pub async fn record_drift_hour(&self, hour: &DriftHour) -> Result<(), StoreError> {
        self.run(async |connection| {
            sqlx::query(
                "insert into drift_hours (version, hour, predictions, expected_accuracy, profile, changes, alarms)
                values ($1, $2, $3, $4, $5, $6, $7)
                on conflict (hour, version) do update set predictions = excluded.predictions,
                    expected_accuracy = excluded.expected_accuracy, profile = excluded.profile,
                    changes = excluded.changes, alarms = excluded.alarms, updated_at = now()",
            )
            .bind(hour.version)
            .bind(hour.hour)
            .bind(hour.predictions)
            .bind(hour.expected_accuracy)
            .bind(&hour.profile)
            .bind(&hour.changes)
            .bind(&hour.alarms)
            .execute(connection)
            .await?;
            Ok(())
        })
        .await
    }

    /// The newest hours on record, the newest first; of one version, or of all.
    pub async fn drift_hours(&self, version: Option<Version>, limit: u32) -> Result<Vec<DriftHour>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "select version, hour, predictions, expected_accuracy, profile, changes, alarms
                from drift_hours where $1::bigint is null or version = $1 order by hour desc, version desc limit $2",
            )
            .bind(version)
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?)
        })
        .await
    }
}
