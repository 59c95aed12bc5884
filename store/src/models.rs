//! The registry: which checkpoints exist.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::columns::{bigint, from_row, words};
use crate::{Store, StoreError};

/// The number of a registered checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Version(pub i64);

bigint!(Version);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What became of a version before anybody deployed it; which one serves is the deployments' to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelStatus {
    /// Fit to be promoted.
    Registered,
    /// The gate refused it.
    Rejected,
}

words!(ModelStatus { Registered = "registered", Rejected = "rejected" });

/// A registered checkpoint.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Model {
    /// Its number.
    pub version: Version,
    /// What became of it.
    pub status: ModelStatus,
    /// Where the checkpoint store keeps it.
    pub uri: String,
    /// SHA-256 of its `manifest.json`, in lower-case hex.
    pub manifest_sha256: String,
    /// The names of the classes, in the order of the model's outputs.
    pub labels: Vec<String>,
    /// What was measured of it: a JSON object.
    pub metrics: serde_json::Value,
    /// The version that it was trained from.
    pub parent: Option<Version>,
    /// The round that trained it.
    pub round: Option<i64>,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When its files were deleted from the checkpoint store.
    pub collected_at: Option<DateTime<Utc>>,
}

from_row!(Model { version, status, uri, manifest_sha256, labels, metrics, parent, round, created_at, collected_at });

/// A checkpoint to register.
#[derive(Debug, Clone, PartialEq)]
pub struct NewModel {
    /// As returned by [`CheckpointStore::publish`](crate::checkpoints::CheckpointStore::publish).
    pub uri: String,
    /// SHA-256 of its `manifest.json`, in lower-case hex.
    pub manifest_sha256: String,
    /// The names of the classes, in the order of the model's outputs.
    pub labels: Vec<String>,
    /// What was measured of it: a JSON object.
    pub metrics: serde_json::Value,
    /// The version that it was trained from.
    pub parent: Option<Version>,
    /// The round that trained it.
    pub round: Option<i64>,
}

impl Store {
    /// Gives a checkpoint its number; labels may name its classes from now on. The same checkpoint at the same place keeps the
    /// number and the status that it has, and is no longer collected, for its files were just published.
    pub async fn register_model(&self, model: &NewModel) -> Result<Version, StoreError> {
        self.run(async |connection| register(connection, model, ModelStatus::Registered).await).await
    }

    /// Every registered model, newest first.
    pub async fn models(&self) -> Result<Vec<Model>, StoreError> {
        self.run(async |connection| models(connection, None).await).await
    }

    /// One model.
    ///
    /// # Errors
    /// [`StoreError::NoSuchModel`].
    pub async fn model(&self, version: Version) -> Result<Model, StoreError> {
        let found = self.run(async |connection| models(connection, Some(version)).await).await?.pop();
        found.ok_or(StoreError::NoSuchModel(version))
    }
}

/// One version, or all of them, newest first.
pub(crate) async fn models(connection: &mut PgConnection, version: Option<Version>) -> Result<Vec<Model>, StoreError> {
    let models = sqlx::query_as(
        "select version, status, uri, manifest_sha256, labels, metrics, parent, round, created_at, collected_at
        from models where $1::bigint is null or version = $1 order by version desc",
    );
    Ok(models.bind(version).fetch_all(connection).await?)
}

/// The row of a checkpoint, made if there is none yet.
pub(crate) async fn register(
    connection: &mut PgConnection,
    model: &NewModel,
    status: ModelStatus,
) -> Result<Version, StoreError> {
    let version = sqlx::query_scalar(
        "insert into models (uri, manifest_sha256, labels, metrics, parent, round, status)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (manifest_sha256, uri) do update set collected_at = null
        returning version",
    )
    .bind(&model.uri)
    .bind(&model.manifest_sha256)
    .bind(&model.labels)
    .bind(&model.metrics)
    .bind(model.parent)
    .bind(model.round)
    .bind(status)
    .fetch_one(connection)
    .await?;
    Ok(version)
}
