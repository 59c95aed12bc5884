//! Why a checkpoint cannot be used.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use crate::ConfigError;

/// Why a checkpoint cannot be used or written. Every message names the file, and the tensor where
/// there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file that cannot be read or written.
    #[error("{}: {problem}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the operating system said. Part of the message, and so no source, which would be
        /// said once more.
        problem: io::Error,
    },
    /// A configuration that is not a BERT classifier this program can run.
    #[error("{}: {problem}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: ConfigError,
    },
    /// A file whose content is damaged or does not fit the rest of the checkpoint.
    #[error("{}: {problem}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor that is missing, has another shape than the configuration says, or holds a number
    /// that is not finite.
    #[error("{}: tensor {tensor}: {problem}", file.display())]
    Tensor {
        /// The file.
        file: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A precision that such a model does not have, or not there.
    #[error("{}: no {precision}: {problem}", directory.display())]
    Precision {
        /// The checkpoint.
        directory: PathBuf,
        /// What was asked for.
        precision: &'static str,
        /// Why it cannot be had.
        problem: String,
    },
    /// A directory that is there already: checkpoints are written once.
    #[error("{}: exists already; a checkpoint is written once", directory.display())]
    Exists {
        /// The directory.
        directory: PathBuf,
    },
}

impl CheckpointError {
    /// A file whose content is not what it should be.
    pub fn damaged(file: &Path, problem: impl Display) -> Self {
        Self::Damaged { file: file.to_owned(), problem: problem.to_string() }
    }

    /// A file that cannot be read or written.
    pub fn file(file: &Path, problem: io::Error) -> Self {
        Self::File { file: file.to_owned(), problem }
    }
}
