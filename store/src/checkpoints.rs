//! The checkpoint store: immutable directories behind a URL.

use std::path::{Path, PathBuf};

/// Where checkpoints are kept: `file:///directory`, a plain path, or, with the cargo feature `s3`, `s3://bucket/prefix`.
#[derive(Debug, Clone)]
pub struct CheckpointStore;

/// Why a checkpoint could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointStoreError {
    /// The URL cannot be used.
    #[error("the checkpoint store {url} is not usable: {why}")]
    Address {
        /// As given.
        url: String,
        /// Why.
        why: String,
    },
    /// There is no such checkpoint.
    #[error("there is no checkpoint at {0}")]
    NotFound(String),
    /// The directory is not a checkpoint.
    #[error("{} is not a checkpoint: {why}", directory.display())]
    NotACheckpoint {
        /// The directory.
        directory: PathBuf,
        /// Why.
        why: String,
    },
    /// The store or the disk failed.
    #[error("{what}: {why}")]
    Failed {
        /// What was being done.
        what: String,
        /// Why it failed.
        why: String,
    },
}

impl CheckpointStoreError {
    /// Whether the same call may succeed later without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, CheckpointStoreError::Failed { .. })
    }
}

impl CheckpointStore {
    /// Opens the store at a URL or path.
    pub fn open(url: &str) -> Result<Self, CheckpointStoreError> {
        todo!()
    }

    /// Copies a checkpoint directory into the store and returns the URI to register. The name is the SHA-256 of its
    /// `manifest.json`, so publishing the same directory again changes nothing.
    pub async fn publish(&self, directory: &Path) -> Result<String, CheckpointStoreError> {
        todo!()
    }

    /// Copies the checkpoint at `uri` to a directory below `cache` and returns it; one that is there already is not
    /// copied again. A half copy never stands under the returned name. The hashes are the caller's to verify.
    pub async fn fetch(&self, uri: &str, cache: &Path) -> Result<PathBuf, CheckpointStoreError> {
        todo!()
    }
}
