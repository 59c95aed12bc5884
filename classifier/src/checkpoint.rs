//! Checkpoints: directories in the HuggingFace layout, read, verified and written once.
//!
//! `config.json`, `model.safetensors` (or `pytorch_model.bin`), `tokenizer.json` (or `vocab.txt`), and our own
//! `manifest.json` with the size and SHA-256 of each file.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::{ConfigError, ModelConfig, Parameters};
use crate::{Labels, Tokenizer};

/// Why a checkpoint cannot be used or written. Every message names the file, and the tensor where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file that cannot be read or written.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A configuration that is not a BERT classifier this program can run.
    #[error("{}: {source}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// A file whose content is damaged or does not fit the rest of the checkpoint.
    #[error("{}: {problem}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor that is missing, has another shape than the configuration says, or holds a number that is not finite.
    #[error("{}: tensor {tensor}: {problem}", file.display())]
    Tensor {
        /// The file.
        file: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A directory that is there already: checkpoints are written once.
    #[error("{}: exists already; a checkpoint is written once", directory.display())]
    Exists {
        /// The directory.
        directory: PathBuf,
    },
}

/// A model in memory with its tokenizer: what a checkpoint directory holds.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The model's shape and labels.
    pub config: ModelConfig,
    /// Its weights, on the CPU.
    pub parameters: Parameters,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

/// A checkpoint to fine-tune from.
#[derive(Clone, Debug)]
pub struct Base {
    /// The model, complete.
    pub checkpoint: Checkpoint,
    /// The parameters that the directory did not have (a new head, perhaps a new pooler), made from the seed instead.
    pub initialised: Vec<String>,
}

impl Checkpoint {
    /// Opens a directory with a complete classifier.
    ///
    /// # Errors
    /// Whatever is missing, damaged or does not fit, by file and tensor.
    pub fn open(directory: &Path) -> Result<Self, CheckpointError> {
        todo!("{directory:?}")
    }

    /// Writes the directory: into a temporary one beside it, synced, renamed. `extra` goes into the manifest (a round, metrics).
    ///
    /// # Errors
    /// [`CheckpointError::Exists`], or failure to write.
    pub fn save(
        &self,
        directory: &Path,
        extra: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Manifest, CheckpointError> {
        todo!("{directory:?} {extra:?}")
    }
}

impl Base {
    /// Opens a directory to fine-tune for these classes: a classifier, or an encoder without a head.
    ///
    /// The head is kept if the directory has one for the same classes: the same names (then the directory's order stands: read
    /// `checkpoint.config.labels`), or no names and the same number. Otherwise it is new, from `seed`, as is a missing pooler.
    ///
    /// # Errors
    /// Whatever else is missing, damaged or does not fit, by file and tensor.
    pub fn open(directory: &Path, labels: &Labels, seed: u64) -> Result<Self, CheckpointError> {
        todo!("{directory:?} {labels:?} {seed}")
    }
}

/// `manifest.json`: the files of a checkpoint with their sizes and hashes, and whatever else the writer wants to say.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    /// The files, sorted by name.
    pub files: Vec<ManifestFile>,
    /// Other fields.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ManifestFile {
    /// Its name, without a directory.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Measures the files of a directory and writes its `manifest.json`, for checkpoints that came without one.
    ///
    /// # Errors
    /// Failure to read or write.
    pub fn write(
        directory: &Path,
        extra: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, CheckpointError> {
        todo!("{directory:?} {extra:?}")
    }

    /// Reads `manifest.json` and compares every file with it.
    ///
    /// # Errors
    /// A manifest that is missing or damaged, a file that is missing or has another size or hash.
    pub fn verify(directory: &Path) -> Result<Self, CheckpointError> {
        todo!("{directory:?}")
    }

    /// The SHA-256 of the directory's `manifest.json`, in hexadecimal: the identity of the checkpoint.
    ///
    /// # Errors
    /// Failure to read.
    pub fn sha256(directory: &Path) -> Result<String, CheckpointError> {
        todo!("{directory:?}")
    }
}
