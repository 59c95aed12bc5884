//! The flags of the checkpoint store, and the directories that programs use where none is named.

use std::path::PathBuf;

use store::checkpoints::{CheckpointStore, CheckpointStoreError};

/// Where checkpoints are kept.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct CheckpointArguments {
    /// Checkpoint store: a file:// or s3:// URL (the latter with the AWS_ environment variables),
    /// or a path
    #[arg(id = "checkpoints", long = "checkpoints", env = "LABELSTREAM_CHECKPOINTS", value_name = "URL")]
    pub url: String,
}

impl CheckpointArguments {
    /// The store.
    ///
    /// # Errors
    /// A URL that cannot be used.
    pub fn open(&self) -> Result<CheckpointStore, CheckpointStoreError> {
        CheckpointStore::open(&self.url)
    }
}

/// Where fetched checkpoints are kept on this machine.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct CacheArguments {
    /// Directory for checkpoints fetched from the store [default: a directory for temporary files]
    #[arg(id = "cache", long = "cache", env = "LABELSTREAM_CACHE", value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
}

impl CacheArguments {
    /// The directory. Checkpoints can be fetched again, so any that outlives the process is good.
    pub fn path(&self) -> PathBuf {
        self.directory.clone().unwrap_or_else(|| std::env::temp_dir().join("labelstream-checkpoints"))
    }
}

/// The trainer's directory where none is named: for the state of a running round and for fetched
/// checkpoints.
pub fn work() -> PathBuf {
    std::env::temp_dir().join("labelstream-trainer")
}
