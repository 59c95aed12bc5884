//! The tensors of a checkpoint directory, whatever files they stand in and whatever those call
//! them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use candle_core::Tensor;
use serde::Deserialize;

use super::stored::Stored;
use super::{CheckpointError, file, safetensors, torch};

/// The files that weights may stand in, in the order in which transformers looks for them.
const CANDIDATES: [(&str, Format); 4] = [
    ("model.safetensors", Format::Safetensors),
    ("model.safetensors.index.json", Format::Safetensors),
    ("pytorch_model.bin", Format::Torch),
    ("pytorch_model.bin.index.json", Format::Torch),
];

/// What other programs keep weights in, and how they become ours.
const FOREIGN: [(&str, &str); 4] = [
    ("tf_model.h5", "the weights are TensorFlow's: open them with from_tf=True in transformers, and save"),
    ("flax_model.msgpack", "the weights are Flax's: open them with from_flax=True in transformers, and save"),
    ("model.onnx", "an ONNX file is no checkpoint: `labelstream import --onnx` makes a directory of its weights"),
    ("adapter_model.bin", "an adapter is no model: merge it into its base (merge_and_unload() of peft), and save"),
];

#[derive(Clone, Copy)]
enum Format {
    Safetensors,
    Torch,
}

/// The tensors of a checkpoint by name.
pub(super) struct Weights {
    /// The file to look at first when something is wrong.
    main: PathBuf,
    files: Vec<(PathBuf, File)>,
    /// What may stand before a name.
    prefix: &'static str,
    /// By their [`bare`] names.
    tensors: HashMap<String, Found>,
}

/// A tensor in one of the files.
struct Found {
    file: usize,
    /// What the file calls it.
    name: String,
    stored: Stored,
}

/// `model.safetensors.index.json`: which of several files has each tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Weights {
    /// Opens the weights that transformers would take, and reads where they stand.
    ///
    /// Names are the same with the encoder's `prefix` and without.
    pub fn open(directory: &Path, prefix: &'static str) -> Result<Self, CheckpointError> {
        let adapter = directory.join("adapter_config.json");
        if adapter.exists() {
            let problem = "an adapter is no model: merge it into its base (merge_and_unload() of peft), and save";
            return Err(CheckpointError::damaged(&adapter, problem));
        }
        let is_there = |(name, _): &(&str, Format)| directory.join(name).exists();
        let Some((name, format)) = CANDIDATES.into_iter().find(is_there) else { return Err(no_weights(directory)) };
        let main = directory.join(name);
        let mut weights = Self { main: main.clone(), files: Vec::new(), prefix, tensors: HashMap::new() };
        if !name.ends_with(".json") {
            weights.add(main, format)?;
            return Ok(weights);
        }
        let index: Index =
            serde_json::from_slice(&file::read(&main)?).map_err(|error| CheckpointError::damaged(&main, error))?;
        for shard in index.weight_map.values().collect::<BTreeSet<_>>() {
            let mut parts = Path::new(shard).components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
                return Err(CheckpointError::damaged(&main, format!("{shard:?} is not the name of a file beside it")));
            }
            weights.add(directory.join(shard), format)?;
        }
        for (tensor, shard) in &index.weight_map {
            let found = weights.tensors.get(&bare(tensor, prefix));
            if !found.is_some_and(|found| weights.files[found.file].0.ends_with(shard)) {
                return Err(weights.error(tensor, format!("is not in {shard}, where it should be")));
            }
        }
        Ok(weights)
    }

    fn add(&mut self, path: PathBuf, format: Format) -> Result<(), CheckpointError> {
        let (opened, size) = file::open(&path)?;
        let tensors = match format {
            Format::Safetensors => safetensors::tensors(&opened, size),
            Format::Torch => torch::tensors(&opened, size),
        };
        for (name, mut stored) in tensors.map_err(|problem| CheckpointError::damaged(&path, problem))? {
            stored.end = stored.end.min(size);
            let found = Found { file: self.files.len(), name: name.clone(), stored };
            if let Some(other) = self.tensors.insert(bare(&name, self.prefix), found) {
                let problem = format!("stands for the same as {}: which of them counts?", other.name);
                return Err(CheckpointError::Tensor { file: path, tensor: name, problem });
            }
        }
        self.files.push((path, opened));
        Ok(())
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(&bare(name, self.prefix))
    }

    /// The tensor as f32, checked: its shape is as expected and every number is finite.
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Tensor, CheckpointError> {
        let found = self.tensors.get(&bare(name, self.prefix)).ok_or_else(|| self.error(name, "missing"))?;
        let (path, file) = &self.files[found.file];
        let error =
            |problem: String| CheckpointError::Tensor { file: path.clone(), tensor: found.name.clone(), problem };
        if found.stored.shape != shape {
            let problem = format!("has shape {:?}, the configuration says {shape:?}", found.stored.shape);
            return Err(error(problem));
        }
        let tensor = found.stored.read(file).map_err(error)?;
        let numbers = tensor.flatten_all().and_then(|numbers| numbers.to_vec1::<f32>());
        match numbers.map_err(|problem| error(problem.to_string()))?.iter().all(|number| number.is_finite()) {
            true => Ok(tensor),
            false => Err(error("holds a number that is not finite".to_owned())),
        }
    }

    /// All tensors of numbers with a fraction.
    pub fn read_all(&self) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
        let known = self.tensors.values().filter(|found| found.stored.dtype.is_some());
        known.map(|found| Ok((found.name.clone(), self.read(&found.name, &found.stored.shape)?))).collect()
    }

    /// An error about one tensor.
    pub fn error(&self, tensor: &str, problem: impl Display) -> CheckpointError {
        CheckpointError::Tensor { file: self.main.clone(), tensor: tensor.to_owned(), problem: problem.to_string() }
    }
}

/// The names of the files that the weights of a directory stand in: one, or an index and its shards.
///
/// # Errors
/// Weights that are not there, or cannot be read.
pub fn weight_files(directory: &Path) -> Result<Vec<String>, CheckpointError> {
    let weights = Weights::open(directory, "")?;
    let paths = std::iter::once(&weights.main).chain(weights.files.iter().map(|(path, _)| path));
    let names: BTreeSet<_> = paths.filter_map(|path| path.file_name()).map(|name| name.to_string_lossy()).collect();
    Ok(names.into_iter().map(|name| name.into_owned()).collect())
}

fn no_weights(directory: &Path) -> CheckpointError {
    let foreign = FOREIGN.iter().map(|(name, advice)| (directory.join(name), advice));
    if let Some((file, advice)) = foreign.into_iter().find(|(file, _)| file.exists()) {
        return CheckpointError::damaged(&file, advice);
    }
    let missing = "not found, nor are pytorch_model.bin or an index of shards beside it";
    CheckpointError::file(&directory.join(CANDIDATES[0].0), io::Error::new(io::ErrorKind::NotFound, missing))
}

/// A name without what one file has and another not: encoders are saved without the `prefix` of
/// their family, and the first PyTorch ports of BERT kept TensorFlow's `gamma` and `beta`.
fn bare(stored: &str, prefix: &str) -> String {
    let name = stored.strip_prefix(prefix).unwrap_or(stored);
    let renamed = match name.strip_suffix(".gamma").map(|layer| (layer, "weight")) {
        Some(renamed) => Some(renamed),
        None => name.strip_suffix(".beta").map(|layer| (layer, "bias")),
    };
    let renamed = renamed.filter(|(layer, _)| layer.ends_with("LayerNorm"));
    renamed.map_or_else(|| name.to_owned(), |(layer, part)| format!("{layer}.{part}"))
}
