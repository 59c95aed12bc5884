//! The model that serves, brought to this machine and verified.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use service::checkpoint::fetch;
use service::retry;
use store::checkpoints::CheckpointStore;
use store::{Store, Version};
use tokio_util::sync::CancellationToken;

/// The model that serves.
#[derive(Debug, Clone)]
pub(super) struct Champion {
    pub version: Version,
    pub labels: Vec<String>,
    pub directory: PathBuf,
    /// The highest id of a label that it may have learned.
    pub knows: i64,
}

impl Champion {
    /// The champion of the registry, if there is one.
    pub async fn fetch(
        store: &Store,
        checkpoints: &CheckpointStore,
        cache: &Path,
        stop: &CancellationToken,
    ) -> Result<Option<Self>> {
        let champion = retry("Postgres names the champion", stop, async || store.champion().await).await?;
        let Some(model) = champion else { return Ok(None) };
        let fetch = async || fetch(checkpoints, &model, cache).await;
        let directory = retry("the checkpoint store has the champion", stop, fetch).await;
        let directory = directory.with_context(|| format!("the champion, version {}", model.version))?;
        let knows = async || store.labels_known_to(model.version).await;
        let knows = retry("Postgres tells what the champion has learned", stop, knows).await?;
        Ok(Some(Self { knows, version: model.version, labels: model.labels, directory }))
    }
}
