//! The model that serves, brought to this machine and verified.

use std::path::{Path, PathBuf};

use anyhow::Result;
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
        let directory = retry("the checkpoint store has the champion", stop, fetch).await?;
        Ok(Some(Self { version: model.version, labels: model.labels, directory }))
    }
}
