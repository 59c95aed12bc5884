//! Checkpoints: directories in the HuggingFace layout, read, verified and written once.
//!
//! `config.json`, `model.safetensors` (or `pytorch_model.bin`), `tokenizer.json` (or `vocab.txt`),
//! and our own `manifest.json` with the size and SHA-256 of each file.

mod file;
mod manifest;
mod pickle;
mod safetensors;
mod save;
mod stored;
mod torch;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::parameters::{initial, shapes};
use crate::{Classes, ModelConfig, Parameters, Pooling, Tokenizer};
use weights::Weights;

pub use crate::CheckpointError;
pub use file::read as read_file;
pub use manifest::{Manifest, ManifestFile};
pub use save::write_once;
pub use weights::weight_files;

/// A model in memory with its tokenizer: what a checkpoint directory holds.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The model's shape and classes.
    pub config: ModelConfig,
    /// Its weights, on the CPU when they have just been read.
    pub parameters: Parameters,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

/// A checkpoint to fine-tune from.
#[derive(Clone, Debug)]
pub struct Base {
    /// The model, complete.
    pub checkpoint: Checkpoint,
    /// The parameters that the directory did not have (a new head, perhaps a new pooler), made from
    /// the seed instead.
    pub initialised: Vec<String>,
}

impl Checkpoint {
    /// Opens a directory with a complete classifier.
    ///
    /// # Errors
    /// Whatever is missing, damaged or does not fit, by file and tensor.
    pub fn open(directory: &Path) -> Result<Self, CheckpointError> {
        let config = read_config(directory)?;
        if config.classes.len() < 2 {
            let file = directory.join("config.json");
            return Err(CheckpointError::damaged(&file, "id2label has fewer than two classes"));
        }
        let weights = Weights::open(directory, config.family.prefix())?;
        let head = config.stored_name("classifier.weight");
        if !weights.has(&head) {
            let problem = "missing: an encoder without a classification head must be fine-tuned first";
            return Err(weights.error(&head, problem));
        }
        let tokenizer = open_tokenizer(directory, &config)?;
        let tensors = shapes(&config).into_iter().map(|(name, shape)| {
            let tensor = weights.read(&config.stored_name(&name), &shape)?;
            Ok((name, tensor))
        });
        let parameters = Parameters::new(tensors.collect::<Result<_, _>>()?);
        Ok(Self { config, parameters, tokenizer })
    }

    /// Writes the directory: into a temporary one beside it, synced, renamed. `extra` goes into the
    /// manifest (a round, metrics).
    ///
    /// # Errors
    /// [`CheckpointError::Exists`], or failure to write.
    pub fn save(
        &self,
        directory: &Path,
        extra: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Manifest, CheckpointError> {
        save::save(self, directory, extra)
    }
}

impl Base {
    /// Opens a directory to fine-tune for these classes: a classifier, or an encoder without a
    /// head.
    ///
    /// The head is kept if the directory has one for the same classes: the same names (then the
    /// directory's order stands: read `checkpoint.config.classes`), or no names and the same
    /// number. Otherwise it is new, from `seed`, as is a missing pooler. So is the head over
    /// another `pooling` than the directory has; `None` keeps that.
    ///
    /// # Errors
    /// Whatever else is missing, damaged or does not fit, by file and tensor.
    pub fn open(
        directory: &Path,
        classes: &Classes,
        pooling: Option<Pooling>,
        seed: u64,
    ) -> Result<Self, CheckpointError> {
        let mut config = read_config(directory)?;
        let same_pooling = pooling.is_none_or(|pooling| pooling == config.pooling);
        config.pooling = pooling.unwrap_or(config.pooling);
        let weights = Weights::open(directory, config.family.prefix())?;
        let same_names = config.classes.len() == classes.len()
            && config.classes.names().iter().all(|name| classes.index(name).is_some());
        let nameless = config.classes.len() == classes.len() && config.classes.are_unnamed();
        let keeps_head =
            weights.has(&config.stored_name("classifier.weight")) && same_pooling && (same_names || nameless);
        let config = if same_names { config } else { config.with_classes(classes.clone()) };
        let tokenizer = open_tokenizer(directory, &config)?;

        let mut initialised = Vec::new();
        let mut tensors = BTreeMap::new();
        for (name, shape) in shapes(&config) {
            let stored = config.stored_name(&name);
            let is_new = if name.starts_with("classifier.") {
                !keeps_head
            } else {
                let has_pooler = weights.has(&config.stored_name("bert.pooler.dense.weight"));
                name.starts_with("bert.pooler.") && !has_pooler || name.starts_with("pooling.") && !weights.has(&name)
            };
            let tensor = if is_new {
                initialised.push(name.clone());
                let made = initial(&name, &shape, &config, seed);
                made.map_err(|error| weights.error(&stored, error))?
            } else {
                weights.read(&stored, &shape)?
            };
            tensors.insert(name, tensor);
        }
        let parameters = Parameters::new(tensors);
        Ok(Self { checkpoint: Checkpoint { config, parameters, tokenizer }, initialised })
    }
}

/// What the directory's `config.json` says it is; `None` where it does not say.
///
/// # Errors
/// A file that cannot be read, or is not JSON.
pub fn model_type(directory: &Path) -> Result<Option<String>, CheckpointError> {
    let (file, text) = read_config_text(directory)?;
    let config: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| CheckpointError::damaged(&file, error))?;
    Ok(config["model_type"].as_str().map(str::to_owned))
}

/// What the directory's `config.json` says of the model's shape.
///
/// # Errors
/// A file that cannot be read, or that is no configuration of a model that this crate knows.
pub fn read_config(directory: &Path) -> Result<ModelConfig, CheckpointError> {
    let (file, text) = read_config_text(directory)?;
    ModelConfig::parse(&text).map_err(|problem| CheckpointError::Config { file, problem })
}

/// What the directory's `config.json` says of the classes, whatever kind of model it is.
///
/// # Errors
/// A file that cannot be read, or fewer than two classes.
pub fn read_classes(directory: &Path) -> Result<Classes, CheckpointError> {
    let (file, text) = read_config_text(directory)?;
    let fields = serde_json::from_str(&text).map_err(|error| CheckpointError::damaged(&file, error))?;
    let classes = ModelConfig::parse_classes(&fields);
    let classes = classes.map_err(|problem| CheckpointError::Config { file: file.clone(), problem })?;
    match classes.len() {
        0 | 1 => Err(CheckpointError::damaged(&file, "id2label has fewer than two classes")),
        _ => Ok(classes),
    }
}

/// All tensors of a directory by the names that its files give them, as f32.
///
/// # Errors
/// Weights that are missing or damaged; a number that is not finite.
pub fn read_tensors(directory: &Path) -> Result<BTreeMap<String, candle_core::Tensor>, CheckpointError> {
    Weights::open(directory, "")?.read_all()
}

fn read_config_text(directory: &Path) -> Result<(PathBuf, String), CheckpointError> {
    let file = directory.join("config.json");
    let text = String::from_utf8(file::read(&file)?).map_err(|error| CheckpointError::damaged(&file, error))?;
    Ok((file, text))
}

fn open_tokenizer(directory: &Path, config: &ModelConfig) -> Result<Tokenizer, CheckpointError> {
    let tokenizer = Tokenizer::open(directory)?;
    let (entries, rows) = (tokenizer.vocab_size(), config.vocab_size);
    if entries > rows {
        return Err(CheckpointError::Tensor {
            file: directory.to_owned(),
            tensor: config.stored_name("bert.embeddings.word_embeddings.weight"),
            problem: format!("has {rows} rows, too few for a tokenizer with {entries} entries"),
        });
    }
    Ok(tokenizer)
}
