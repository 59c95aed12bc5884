//! From a row of the registry to a model that has labeled a text: fetched, verified, loaded, tried.
//!
//! A checkpoint's label set must be the registry's. A change of it reaches the consumers only when a person promotes it: a
//! round's candidate with other labels than the champion's is refused where the round is concluded, in the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use classifier::checkpoint::{CheckpointError, Manifest};
use classifier::{DeviceChoice, Precision};
use store::checkpoints::{CheckpointStore, CheckpointStoreError};

use crate::golden;
use crate::health::Health;
use crate::model::{Champion, Model as _};
use crate::thread::thread;

/// Where checkpoints come from and where they run.
pub(crate) struct Source {
    pub checkpoints: CheckpointStore,
    pub cache: PathBuf,
    pub device: DeviceChoice,
    /// What networks compute with; without it, what suits the device.
    pub precision: Option<Precision>,
    /// Knows whether the device has died.
    pub health: Arc<Health>,
}

/// Why a version is not served.
pub(crate) struct Refusal {
    pub reason: anyhow::Error,
    /// Whether the same attempt may succeed later without anybody mending anything.
    pub is_transient: bool,
}

/// How much the thread that loads stands back behind the one that labels, as `nice` counts.
const NICENESS: i32 = 10;

impl Source {
    /// The model of a registered version, in one attempt. All the work is done on a thread of its own.
    pub async fn load(&self, registered: &store::Model) -> Result<Champion, Refusal> {
        let directory = self.fetch(registered).await?;
        let (registered, device, precision) = (registered.clone(), self.device(), self.precision());
        let loaded = thread("reload", Box::new(move || Ok(open(&directory, &registered, device, precision))))?;
        loaded.await?
    }

    /// The chosen device, or the CPU if that one has died.
    pub fn device(&self) -> DeviceChoice {
        if self.health.fallback.get().is_some() { DeviceChoice::Cpu } else { self.device }
    }

    /// The chosen precision, or the CPU's own if the device has died.
    fn precision(&self) -> Option<Precision> {
        if self.health.fallback.get().is_some() { None } else { self.precision }
    }

    /// The checkpoint's directory in the cache, verified. What is damaged there is fetched again, once.
    async fn fetch(&self, registered: &store::Model) -> Result<PathBuf, Refusal> {
        let directory = self.checkpoints.fetch(&registered.uri, &self.cache).await?;
        let Err(damage) = verify(&directory, registered).await else { return Ok(directory) };
        tracing::warn!(version = registered.version.0, %damage, "the fetched checkpoint is damaged: fetching it again");
        self.forget(&registered.uri).await?;
        let directory = self.checkpoints.fetch(&registered.uri, &self.cache).await?;
        match verify(&directory, registered).await {
            Ok(()) => Ok(directory),
            Err(damage) => {
                self.forget(&registered.uri).await?;
                Err(damage.into())
            }
        }
    }

    /// Removes a checkpoint from the cache.
    pub async fn forget(&self, uri: &str) -> Result<(), CheckpointStoreError> {
        self.checkpoints.forget(uri, &self.cache).await
    }
}

async fn verify(directory: &Path, registered: &store::Model) -> anyhow::Result<()> {
    let (directory, registered) = (directory.to_owned(), registered.clone());
    let verify = move || {
        stand_back();
        Manifest::verify(&directory)?;
        let sha256 = Manifest::sha256(&directory)?;
        ensure!(sha256 == registered.manifest_sha256, "its manifest is not the one that was registered");
        Ok(())
    };
    thread("verify", Box::new(verify))?.await
}

fn open(
    directory: &Path,
    registered: &store::Model,
    device: DeviceChoice,
    precision: Option<Precision>,
) -> Result<Champion, Refusal> {
    stand_back();
    let device = device.open().with_context(|| format!("cannot open the device {device}"))?;
    let manifest = Manifest::read(directory)?;
    let mut champion = Champion::open(directory, registered.version, &device, precision)?;
    let labels = champion.classes().names();
    if labels != registered.labels {
        return Err(Refusal::for_good(anyhow::anyhow!(
            "the checkpoint has the labels {labels:?}, the registry says {:?}",
            registered.labels
        )));
    }
    champion.canary().context("it fails on a fixed text")?;
    golden::check(&mut champion, &manifest)?;
    Ok(champion)
}

/// On Linux this concerns the calling thread, and the threads that it starts.
fn stand_back() {
    // Where it is not allowed, loading merely competes with labeling.
    let _ = rustix::process::nice(NICENESS);
}

impl Refusal {
    fn for_good(reason: anyhow::Error) -> Self {
        Self { reason, is_transient: false }
    }
}

impl From<CheckpointStoreError> for Refusal {
    fn from(error: CheckpointStoreError) -> Self {
        Self { is_transient: error.is_transient(), reason: error.into() }
    }
}

/// A file that was there when it was verified and cannot be read now is fetched again at the next attempt.
impl From<CheckpointError> for Refusal {
    fn from(error: CheckpointError) -> Self {
        Self { is_transient: matches!(error, CheckpointError::File { .. }), reason: error.into() }
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(reason: anyhow::Error) -> Self {
        Self::for_good(reason)
    }
}

#[cfg(test)]
mod tests {
    use store::{ModelStatus, Version};

    use super::*;

    fn registered() -> store::Model {
        store::Model {
            version: Version(1),
            status: ModelStatus::Registered,
            uri: String::new(),
            manifest_sha256: String::new(),
            labels: vec!["negative".to_owned(), "positive".to_owned()],
            metrics: serde_json::json!({}),
            parent: None,
            round: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            collected_at: None,
        }
    }

    #[test]
    fn a_file_that_vanishes_while_it_is_loaded_is_looked_for_again_and_a_damaged_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let refusal = || open(directory.path(), &registered(), DeviceChoice::Cpu, None).err().unwrap();
        assert!(refusal().is_transient, "no manifest");
        std::fs::write(directory.path().join("manifest.json"), r#"{"files": []}"#).unwrap();
        assert!(refusal().is_transient, "no configuration");
        std::fs::write(directory.path().join("config.json"), "{").unwrap();
        let refusal = refusal();
        assert!(!refusal.is_transient && refusal.reason.to_string().contains("config.json"), "{}", refusal.reason);
    }
}
