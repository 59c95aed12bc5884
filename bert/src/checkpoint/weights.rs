//! Reading the tensors of a checkpoint, whatever their file calls them.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use candle_core::pickle::PthTensors;
use candle_core::safetensors::{BufferedSafetensors, Load};
use candle_core::{DType, Device, Tensor};

use super::CheckpointError;

/// The tensors of a checkpoint by the names we use, whatever the file calls them.
pub(super) struct Weights {
    file: PathBuf,
    source: Source,
    /// From our name to the file's.
    names: HashMap<String, String>,
}

enum Source {
    Safetensors(BufferedSafetensors),
    Pickle(PthTensors),
}

impl Weights {
    /// Opens `model.safetensors`, else `pytorch_model.bin`.
    pub fn open(directory: &Path) -> Result<Self, CheckpointError> {
        let safetensors = directory.join("model.safetensors");
        let pickle = directory.join("pytorch_model.bin");
        let (file, source) = if safetensors.exists() {
            let bytes = fs::read(&safetensors).map_err(|error| CheckpointError::file(&safetensors, error))?;
            let tensors =
                BufferedSafetensors::new(bytes).map_err(|error| CheckpointError::damaged(&safetensors, error))?;
            (safetensors, Source::Safetensors(tensors))
        } else if pickle.exists() {
            let tensors = PthTensors::new(&pickle, None).map_err(|error| CheckpointError::damaged(&pickle, error))?;
            (pickle, Source::Pickle(tensors))
        } else {
            let missing = io::Error::new(io::ErrorKind::NotFound, "not found, nor is pytorch_model.bin beside it");
            return Err(CheckpointError::file(&safetensors, missing));
        };
        let names = match &source {
            Source::Safetensors(tensors) => tensors.tensors().into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
            Source::Pickle(tensors) => tensors.tensor_infos().keys().cloned().collect(),
        };
        let names = names.into_iter().map(|name| (our_name(&name), name)).collect();
        Ok(Self { file, source, names })
    }

    /// Whether there is a tensor that we call by this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// The tensor as f32, checked: its shape is as expected and every number is finite.
    pub fn read(&self, name: &str, shape: &[usize]) -> Result<Tensor, CheckpointError> {
        let stored = self.names.get(name).ok_or_else(|| self.error(name, "missing"))?;
        let tensor = match &self.source {
            Source::Safetensors(tensors) => tensors.get(stored).and_then(|view| view.load(&Device::Cpu)),
            Source::Pickle(tensors) => match tensors.get(stored) {
                Ok(Some(tensor)) => Ok(tensor),
                Ok(None) => return Err(self.error(stored, "missing")),
                Err(error) => Err(error),
            },
        };
        let tensor = tensor.map_err(|error| self.error(stored, error))?;
        if tensor.dims() != shape {
            let problem = format!("has shape {:?}, the configuration says {shape:?}", tensor.dims());
            return Err(self.error(stored, problem));
        }
        if !tensor.dtype().is_float() {
            return Err(self.error(stored, format!("has type {:?}, not floating point", tensor.dtype())));
        }
        let checked = tensor.to_dtype(DType::F32).and_then(|tensor| {
            let finite = tensor.flatten_all()?.to_vec1::<f32>()?.iter().all(|value| value.is_finite());
            Ok((tensor.contiguous()?, finite))
        });
        match checked {
            Ok((tensor, true)) => Ok(tensor),
            Ok((_, false)) => Err(self.error(stored, "holds a number that is not finite")),
            Err(error) => Err(self.error(stored, error)),
        }
    }

    /// An error about one tensor of this file.
    pub fn error(&self, tensor: &str, problem: impl Display) -> CheckpointError {
        CheckpointError::Tensor { file: self.file.clone(), tensor: tensor.to_owned(), problem: problem.to_string() }
    }
}

/// The name that `BertForSequenceClassification` gives to what the file may call otherwise:
/// encoders are saved without `bert.`, and the first PyTorch ports of BERT kept TensorFlow's
/// `gamma` and `beta`.
fn our_name(stored: &str) -> String {
    let name = stored.strip_prefix("bert.").unwrap_or(stored);
    let name = match name.rsplit_once('.') {
        Some((layer, "gamma")) => format!("{layer}.weight"),
        Some((layer, "beta")) => format!("{layer}.bias"),
        _ => name.to_owned(),
    };
    let is_encoder = ["embeddings.", "encoder.", "pooler."].iter().any(|part| name.starts_with(part));
    if is_encoder { format!("bert.{name}") } else { name }
}
