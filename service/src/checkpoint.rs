//! A registered checkpoint, brought to this machine and verified against what was registered.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use classifier::checkpoint::Manifest;
use store::Model;
use store::checkpoints::{CheckpointStore, CheckpointStoreError};

use crate::{Transient, thread};

/// Hashing a checkpoint yields to whatever else the machine does, as `nice` counts.
const NICENESS: i32 = 10;

/// Why a checkpoint is not here.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The store does not give it.
    #[error(transparent)]
    Store(#[from] CheckpointStoreError),
    /// It is not what was registered, or cannot be read.
    #[error("the checkpoint of version {version} is damaged: {why:#}")]
    Damaged {
        /// The version.
        version: store::Version,
        /// What is wrong with it.
        why: anyhow::Error,
    },
}

impl Transient for FetchError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }
}

/// The directory of a registered version in the cache, every hash as registered. What is damaged
/// there is fetched again, once; what is damaged in the store does not stay in the cache.
///
/// # Errors
/// A store that does not answer, refuses, or has no such checkpoint; damage in the store itself.
pub async fn fetch(store: &CheckpointStore, model: &Model, cache: &Path) -> Result<PathBuf, FetchError> {
    let directory = store.fetch(&model.uri, cache).await?;
    let Err(why) = verify(&directory, model).await else { return Ok(directory) };
    tracing::warn!(
        version = model.version.0,
        why = format!("{why:#}"),
        "a fetched checkpoint is damaged: fetching it again"
    );
    store.forget(&model.uri, cache).await?;
    let directory = store.fetch(&model.uri, cache).await?;
    match verify(&directory, model).await {
        Ok(()) => Ok(directory),
        Err(why) => {
            store.forget(&model.uri, cache).await?;
            Err(FetchError::Damaged { version: model.version, why })
        }
    }
}

async fn verify(directory: &Path, model: &Model) -> Result<()> {
    let (directory, registered) = (directory.to_owned(), model.manifest_sha256.clone());
    let verify = move || {
        Manifest::verify(&directory)?;
        ensure!(Manifest::sha256(&directory)? == registered, "its manifest is not the one that was registered");
        Ok(())
    };
    thread("verify", Some(NICENESS), verify)?.await
}
