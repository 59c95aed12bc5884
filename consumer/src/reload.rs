//! The champion of the registry, brought into memory: fetched, verified, loaded, tried.
//!
//! This is read once, at the start. Hearing of a new champion while serving belongs here too: everything from the registry's
//! row to a model that has passed its canary is [`Source::load`], and the inference thread takes a model between two batches.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use classifier::checkpoint::Manifest;
use classifier::{Classifier, DeviceChoice};
use store::Store;
use store::checkpoints::{CheckpointStore, CheckpointStoreError};

use crate::backoff::Backoff;
use crate::model::{Champion, Model as _};

/// Where checkpoints come from and where they run.
pub(crate) struct Source {
    pub store: Store,
    pub checkpoints: CheckpointStore,
    pub cache: PathBuf,
    pub device: DeviceChoice,
}

/// How often an empty registry is asked again.
const POLL: Duration = Duration::from_secs(2);

impl Source {
    /// The champion, loaded; waits while the registry has none.
    ///
    /// # Errors
    /// A checkpoint that is missing, damaged, or not what was registered; a database that refuses.
    pub async fn champion(&self) -> Result<Champion> {
        let registered = self.registered_champion().await?;
        tracing::info!(version = registered.version.0, uri = registered.uri, "loading the champion");
        self.load(&registered)
            .await
            .with_context(|| format!("cannot serve version {}, the champion", registered.version))
    }

    async fn registered_champion(&self) -> Result<store::Model> {
        let mut backoff = Backoff::new(Duration::from_secs(5));
        let mut said = false;
        loop {
            match self.store.champion().await {
                Ok(Some(champion)) => return Ok(champion),
                Ok(None) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::info!("waiting for a champion: register one with `labelstream models register`");
                    }
                    tokio::time::sleep(POLL).await;
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "waiting for Postgres to name the champion");
                    tokio::time::sleep(backoff.next()).await;
                }
                Err(error) => {
                    return Err(error).context("cannot read the champion from the registry");
                }
            }
        }
    }

    /// From the registry's row to a model that has labeled a text.
    async fn load(&self, registered: &store::Model) -> Result<Champion> {
        let directory = self.fetch(&registered.uri).await?;
        let (registered, device) = (registered.clone(), self.device);
        tokio::task::spawn_blocking(move || open(&directory, &registered, device)).await.context("loading panicked")?
    }

    async fn fetch(&self, uri: &str) -> Result<PathBuf> {
        let mut backoff = Backoff::new(Duration::from_secs(10));
        // About a minute: then a person should know.
        for _ in 0..12 {
            match self.checkpoints.fetch(uri, &self.cache).await {
                Ok(directory) => return Ok(directory),
                Err(error @ CheckpointStoreError::Failed { .. }) => {
                    tracing::warn!(%error, "waiting for the checkpoint store");
                    tokio::time::sleep(backoff.next()).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        bail!("the checkpoint store does not answer")
    }
}

fn open(directory: &Path, registered: &store::Model, device: DeviceChoice) -> Result<Champion> {
    Manifest::verify(directory)?;
    let sha256 = Manifest::sha256(directory)?;
    ensure!(sha256 == registered.manifest_sha256, "its manifest is not the one that was registered");
    let device = device.open().with_context(|| format!("cannot open the device {device}"))?;
    let classifier = Classifier::open(directory, &device)?;
    let labels = classifier.labels().names();
    ensure!(
        labels == registered.labels,
        "the checkpoint has the labels {labels:?}, the registry says {:?}",
        registered.labels
    );
    let mut champion = Champion { classifier, version: registered.version };
    champion.canary().context("it fails on a fixed text")?;
    Ok(champion)
}
