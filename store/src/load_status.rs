//! What each consumer made of each version: loading, serving, or refused and why.

use chrono::{DateTime, Utc};
use sqlx::Connection;

use crate::columns::{from_row, words};
use crate::models::Version;
use crate::{Store, StoreError};

/// How far a consumer is with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadStatus {
    /// It fetches, verifies and warms it; another version serves meanwhile.
    Loading,
    /// It labels with it.
    Serving,
    /// It will not serve it.
    Refused,
}

words!(LoadStatus { Loading = "loading", Serving = "serving", Refused = "refused" });

/// A row of `model_load_status`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LoadReport {
    /// The consumer: host and process.
    pub consumer: String,
    /// The pipeline that it works for.
    pub pipeline: String,
    /// The version.
    pub version: Version,
    /// How far it is.
    pub status: LoadStatus,
    /// Why it was refused.
    pub reason: Option<String>,
    /// When it last said so.
    pub updated_at: DateTime<Utc>,
}

from_row!(LoadReport { consumer, pipeline, version, status, reason, updated_at });

impl Store {
    /// Notes how far a consumer is with a version. `reason` belongs to a refusal, and to that alone.
    ///
    /// A consumer loads one version at a time and serves one, and when it serves it loads no other: its former ones are
    /// forgotten. So is everything that nobody has repeated for a week.
    pub async fn report_load(
        &self,
        consumer: &str,
        pipeline: &str,
        version: Version,
        status: LoadStatus,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        self.run(async |connection| {
            let mut transaction = connection.begin().await?;
            sqlx::query(
                "insert into model_load_status (consumer, pipeline, version, status, reason)
                values ($1, $2, $3, $4, $5)
                on conflict (consumer, version) do update
                set pipeline = excluded.pipeline, status = excluded.status, reason = excluded.reason,
                    updated_at = excluded.updated_at",
            )
            .bind(consumer)
            .bind(pipeline)
            .bind(version)
            .bind(status)
            .bind(reason)
            .execute(&mut *transaction)
            .await?;
            sqlx::query(
                "delete from model_load_status
                where (consumer = $1 and version <> $2 and status <> 'refused' and $3 in (status, 'serving'))
                    or updated_at < now() - interval '7 days'",
            )
            .bind(consumer)
            .bind(version)
            .bind(status)
            .execute(&mut *transaction)
            .await?;
            Ok(transaction.commit().await?)
        })
        .await
    }

    /// What the consumers last said, newest first.
    pub async fn load_reports(&self) -> Result<Vec<LoadReport>, StoreError> {
        self.run(async |connection| {
            let reports = "select consumer, pipeline, version, status, reason, updated_at
                from model_load_status order by updated_at desc, consumer, version desc";
            Ok(sqlx::query_as(reports).fetch_all(connection).await?)
        })
        .await
    }
}
