//! From a row of the registry to a model that has classified a text: fetched, verified, loaded,
//! tried.
//!
//! A checkpoint's label set must be the registry's. A change of it reaches the consumers only when
//! a person promotes it: a round's candidate with other labels than the champion's is refused where
//! the round is concluded, in the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use classifier::checkpoint::{CheckpointError, Manifest};
use classifier::{DeviceChoice, Precision};
use service::checkpoint::{FetchError, fetch};
use service::{Transient as _, thread};
use store::checkpoints::{CheckpointStore, CheckpointStoreError};

use crate::golden;
use crate::health::Health;
use crate::model::{Champion, Model as _};

/// Loads registered checkpoints: where they come from and where they run.
pub(crate) struct Loader {
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
    /// Whether the same attempt may succeed later.
    pub again: Again,
}

/// Whether what was refused is worth another attempt, unless it is promoted anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Without anybody mending anything: a network, a disk that is full.
    Soon,
    /// When somebody mends something outside of the checkpoint: a store that is not mounted, rights,
    /// a device.
    Later,
    /// The checkpoint itself is not fit to serve.
    Never,
}

/// How much the thread that loads yields to the one that classifies, as `nice` counts.
const NICENESS: i32 = 10;

impl Loader {
    /// The model of a registered version, in one attempt. All the work is done on a thread of its
    /// own.
    pub async fn load(&self, registered: &store::Model) -> Result<Champion, Refusal> {
        let directory = fetch(&self.checkpoints, registered, &self.cache).await?;
        let (registered, device, precision) = (registered.clone(), self.device(), self.precision());
        let loaded = thread("reload", Some(NICENESS), move || Ok(open(&directory, &registered, device, precision)))?;
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

    /// Removes a checkpoint from the cache.
    pub async fn forget(&self, uri: &str) -> Result<(), CheckpointStoreError> {
        self.checkpoints.forget(uri, &self.cache).await
    }
}

fn open(
    directory: &Path,
    registered: &store::Model,
    device: DeviceChoice,
    precision: Option<Precision>,
) -> Result<Champion, Refusal> {
    let device = device.open().with_context(|| format!("cannot open the device {device}"));
    let device = device.map_err(|reason| Refusal { reason, again: Again::Later })?;
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

impl Refusal {
    fn for_good(reason: anyhow::Error) -> Self {
        Self { reason, again: Again::Never }
    }
}

impl From<FetchError> for Refusal {
    fn from(error: FetchError) -> Self {
        let again = match &error {
            error if error.is_transient() => Again::Soon,
            FetchError::Store(CheckpointStoreError::NotFound(_) | CheckpointStoreError::Refused { .. }) => Again::Later,
            _ => Again::Never,
        };
        Self { again, reason: error.into() }
    }
}

/// A file that was there when it was verified and cannot be read now is fetched again at the next
/// attempt.
impl From<CheckpointError> for Refusal {
    fn from(error: CheckpointError) -> Self {
        let again = if matches!(error, CheckpointError::File { .. }) { Again::Soon } else { Again::Never };
        Self { again, reason: error.into() }
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
        assert_eq!(refusal().again, Again::Soon, "no manifest");
        std::fs::write(directory.path().join("manifest.json"), r#"{"files": []}"#).unwrap();
        assert_eq!(refusal().again, Again::Soon, "no configuration");
        std::fs::write(directory.path().join("config.json"), "{").unwrap();
        let refusal = refusal();
        assert!(
            refusal.again == Again::Never && refusal.reason.to_string().contains("config.json"),
            "{}",
            refusal.reason
        );
    }

    #[test]
    fn a_store_that_is_away_is_worth_another_attempt_and_a_damaged_checkpoint_is_not() {
        let again = |error: FetchError| Refusal::from(error).again;
        let what = || "access".to_owned();
        let store = |error: CheckpointStoreError| again(FetchError::Store(error));
        assert_eq!(store(CheckpointStoreError::Failed { what: what(), why: what() }), Again::Soon);
        assert_eq!(store(CheckpointStoreError::NotFound(what())), Again::Later);
        assert_eq!(store(CheckpointStoreError::Refused { what: what(), why: what() }), Again::Later);
        assert_eq!(store(CheckpointStoreError::NotACheckpoint { checkpoint: what(), why: what() }), Again::Never);
        assert_eq!(again(FetchError::Damaged(anyhow::anyhow!("a flipped bit"))), Again::Never);
    }
}
