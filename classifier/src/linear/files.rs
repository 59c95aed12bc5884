//! A linear model as a directory: `config.json`, `model.safetensors`, `manifest.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bert::Classes;
use bert::checkpoint::{CheckpointError, Manifest, read_file, write_once};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{LinearModel, LinearWeights, MODEL_TYPE, NgramRange};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";

#[derive(Serialize, Deserialize)]
struct Config {
    model_type: String,
    ngram_range: NgramRange,
    id2label: BTreeMap<usize, String>,
}

impl LinearModel {
    /// Writes the directory: into a temporary one beside it, synced, renamed. `extra` goes into the
    /// manifest (a round, metrics).
    ///
    /// # Errors
    /// [`CheckpointError::Exists`], or failure to write.
    pub fn save(&self, directory: &Path, extra: Map<String, Value>) -> Result<Manifest, CheckpointError> {
        write_once(directory, extra, |partial| {
            self.write_config(&partial.join(CONFIG))?;
            self.write_weights(&partial.join(WEIGHTS))
        })
    }

    /// Opens the directory.
    ///
    /// # Errors
    /// Whatever is missing, damaged or does not fit, by file and tensor.
    pub fn open(directory: &Path) -> Result<Self, CheckpointError> {
        let config = Config::read(&directory.join(CONFIG))?;
        let file = directory.join(WEIGHTS);
        let bytes = read_file(&file)?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| CheckpointError::damaged(&file, error))?;
        let classes = Classes::new(config.id2label.into_values());
        let file = File { path: file, tensors };
        let features = file.read("features", Dtype::U64, &[None])?;
        let count = features.len() / size_of::<u64>();
        let weights = LinearWeights {
            features: numbers(features, u64::from_le_bytes),
            idf: numbers(file.read("idf", Dtype::F32, &[Some(count)])?, f32::from_le_bytes),
            weight: numbers(file.read("weight", Dtype::F32, &[Some(count), Some(classes.len())])?, f32::from_le_bytes),
            bias: numbers(file.read("bias", Dtype::F32, &[Some(classes.len())])?, f32::from_le_bytes),
        };
        Self::new(classes, config.ngram_range, weights).map_err(|misfit| file.error(misfit.tensor, misfit.problem))
    }

    fn write_config(&self, file: &Path) -> Result<(), CheckpointError> {
        let config = Config {
            model_type: MODEL_TYPE.to_owned(),
            ngram_range: self.range,
            id2label: self.classes.names().iter().cloned().enumerate().collect(),
        };
        let mut text =
            serde_json::to_string_pretty(&config).expect("names and numbers have a text: anything else is a bug");
        text.push('\n');
        fs::write(file, text).map_err(|source| CheckpointError::file(file, source))
    }

    fn write_weights(&self, file: &Path) -> Result<(), CheckpointError> {
        let LinearWeights { features, idf, weight, bias } = &self.weights;
        let features: Vec<u8> = features.iter().flat_map(|feature| feature.to_le_bytes()).collect();
        let [idf, weight, bias] = [idf, weight, bias].map(|values| bytes(values));
        let (count, classes) = (self.weights.features.len(), self.classes.len());
        let view = |dtype, shape, data| {
            TensorView::new(dtype, shape, data).expect("sizes were checked: anything else is a bug")
        };
        let tensors = [
            ("features", view(Dtype::U64, vec![count], features.as_slice())),
            ("idf", view(Dtype::F32, vec![count], idf.as_slice())),
            ("weight", view(Dtype::F32, vec![count, classes], weight.as_slice())),
            ("bias", view(Dtype::F32, vec![classes], bias.as_slice())),
        ];
        safetensors::serialize_to_file(tensors, None, file).map_err(|error| match error {
            safetensors::SafeTensorError::IoError(source) => CheckpointError::file(file, source),
            error => CheckpointError::damaged(file, error),
        })
    }
}

impl Config {
    fn read(file: &Path) -> Result<Self, CheckpointError> {
        let config: Self =
            serde_json::from_slice(&read_file(file)?).map_err(|error| CheckpointError::damaged(file, error))?;
        let wrong = |problem: String| Err(CheckpointError::damaged(file, problem));
        if config.model_type != MODEL_TYPE {
            return wrong(format!("model_type is {}, not {MODEL_TYPE}", config.model_type));
        }
        if !config.ngram_range.is_sensible() {
            return wrong(format!("ngram_range is {:?}: expected two lengths between 1 and 8", config.ngram_range));
        }
        if config.id2label.len() < 2 {
            return wrong("id2label has fewer than two classes".to_owned());
        }
        if config.id2label.keys().copied().ne(0..config.id2label.len()) {
            return wrong("id2label: the keys must be \"0\", \"1\", and so on without a hole".to_owned());
        }
        let names: BTreeSet<_> = config.id2label.values().collect();
        if names.len() < config.id2label.len() {
            return wrong("id2label: two classes have one name: nobody could tell which of them is meant".to_owned());
        }
        Ok(config)
    }
}

/// `model.safetensors`, read.
struct File<'a> {
    path: PathBuf,
    tensors: SafeTensors<'a>,
}

impl<'a> File<'a> {
    /// The bytes of a tensor of this type and shape; `None` stands for any size.
    fn read(&self, name: &str, dtype: Dtype, shape: &[Option<usize>]) -> Result<&'a [u8], CheckpointError> {
        let Ok(tensor) = self.tensors.tensor(name) else {
            return Err(self.error(name, "missing".to_owned()));
        };
        if tensor.dtype() != dtype {
            return Err(self.error(name, format!("has type {:?}, expected {dtype:?}", tensor.dtype())));
        }
        let fits = tensor.shape().len() == shape.len()
            && tensor
                .shape()
                .iter()
                .zip(shape)
                .all(|(size, expected)| expected.is_none_or(|expected| expected == *size));
        if !fits {
            let expected: Vec<_> =
                shape.iter().map(|size| size.map_or("any".to_owned(), |size| size.to_string())).collect();
            let problem =
                format!("has shape {:?}, the rest of the model says [{}]", tensor.shape(), expected.join(", "));
            return Err(self.error(name, problem));
        }
        Ok(tensor.data())
    }

    fn error(&self, tensor: &str, problem: String) -> CheckpointError {
        CheckpointError::Tensor { file: self.path.clone(), tensor: tensor.to_owned(), problem }
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn numbers<const SIZE: usize, T>(bytes: &[u8], from: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|number| from(*number)).collect()
}
