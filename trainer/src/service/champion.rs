//! The model that serves, brought to this machine and verified.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use classifier::checkpoint::Manifest;
use store::checkpoints::CheckpointStore;
use store::{Model, Store, Version};
use tokio_util::sync::CancellationToken;

use super::waiting::patiently;

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
        let champion = patiently("Postgres names the champion", stop, async || store.champion().await).await?;
        let Some(model) = champion else { return Ok(None) };
        let fetch = async || checkpoints.fetch(&model.uri, cache).await;
        let mut directory = patiently("the checkpoint store has the champion", stop, fetch).await?;
        if verify(&directory, &model).is_err() {
            // What stands in the cache may have been damaged there.
            checkpoints.forget(&model.uri, cache).await?;
            directory = patiently("the checkpoint store has the champion", stop, fetch).await?;
            verify(&directory, &model).with_context(|| format!("the champion, version {}", model.version))?;
        }
        Ok(Some(Self { version: model.version, labels: model.labels, directory }))
    }
}

fn verify(directory: &Path, model: &Model) -> Result<()> {
    Manifest::verify(directory)?;
    ensure!(Manifest::sha256(directory)? == model.manifest_sha256, "its manifest is not the one that was registered");
    Ok(())
}
