//! Why a checkpoint could not be moved, and whether waiting helps.

use std::error::Error;

/// Why a checkpoint could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointStoreError {
    /// The URL cannot be used.
    #[error("the checkpoint address {url} is not usable: {why}")]
    Address {
        /// As given.
        url: String,
        /// Why.
        why: String,
    },
    /// There is no such checkpoint, or a file of it is missing.
    #[error("there is no checkpoint file {0}")]
    NotFound(String),
    /// It lacks what makes a checkpoint.
    #[error("{checkpoint} is not a checkpoint: {why}")]
    NotACheckpoint {
        /// Directory or URI.
        checkpoint: String,
        /// Why.
        why: String,
    },
    /// The store does not let us in.
    #[error("{what} is refused: {why}")]
    Refused {
        /// What was being done.
        what: String,
        /// Why.
        why: String,
    },
    /// The store or the disk failed.
    #[error("{what} failed: {why}")]
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

    pub(super) fn failed(what: String, why: std::io::Error) -> Self {
        let message = with_causes(&why);
        match why.kind() {
            std::io::ErrorKind::PermissionDenied => Self::Refused { what, why: message },
            _ => Self::Failed { what, why: message },
        }
    }

    pub(super) fn from_store(address: &str, why: object_store::Error) -> Self {
        use object_store::Error as Store;
        let what = format!("access to {address}");
        let message = with_causes(&why);
        match why {
            Store::NotFound { .. } => Self::NotFound(address.to_owned()),
            Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => Self::Refused { what, why: message },
            _ => Self::Failed { what, why: message },
        }
    }
}

/// The causes too: the outermost message alone seldom says what happened.
fn with_causes(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.to_string();
        if !message.contains(&inner) {
            message = format!("{message}: {inner}");
        }
        cause = error.source();
    }
    message
}
