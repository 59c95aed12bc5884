//! The weights of an ONNX file as a checkpoint directory, where the names in it say whose they are.
//!
//! torch's exporter keeps the names of embeddings, biases and LayerNorms. A linear layer's weight
//! stands transposed and without a name: the node that multiplies by it says whose it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bert::checkpoint::{self, Base};
use bert::{Classes, ModelConfig};
use candle_core::{Device, Tensor};
use half::f16;
use prost::Message as _;

use crate::proto::{FLOAT, FLOAT16, Graph, Model, TensorProto};

/// What came of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The kind of model, as `model_type` says it.
    pub kind: String,
    /// Numbers in all tensors together.
    pub parameters: usize,
    /// Whether there is a classification head; else it is to be fine-tuned.
    pub has_head: bool,
    /// Parameters that transformers' classifier has and the file has not.
    pub missing: Vec<String>,
}

/// Writes the weights of `file`, the configuration `config` and the tokenizer that stands in
/// `tokenizer` as a new directory `out`.
///
/// # Errors
/// A file that is no ONNX, keeps its numbers elsewhere, or has names that do not say which weight
/// is which; a configuration of another model; a tokenizer that does not open; an `out` that
/// exists.
pub fn import(file: &Path, config: &Path, tokenizer: &Path, out: &Path) -> Result<Imported> {
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    let graph = Model::decode(bytes.as_slice()).ok().and_then(|model| model.graph);
    let graph = graph.with_context(|| format!("{}: is no ONNX file", file.display()))?;
    let config_text = fs::read_to_string(config).with_context(|| config.display().to_string())?;
    let shape = ModelConfig::parse(&config_text).with_context(|| config.display().to_string())?;
    let tensors = tensors(&graph).with_context(|| file.display().to_string())?;
    let names = bert::tokenizer::FILES.into_iter().filter(|name| tokenizer.join(name).exists());
    let tokenizer_files: Vec<(PathBuf, &str)> = names.map(|name| (tokenizer.join(name), name)).collect();
    let mut imported = None;
    let extra = serde_json::Map::from_iter([("imported".to_owned(), "onnx".into())]);
    checkpoint::write_once(out, extra, |partial| {
        let write = || -> Result<Imported> {
            fs::write(partial.join("config.json"), &config_text)?;
            for (from, name) in &tokenizer_files {
                fs::copy(from, partial.join(name))?;
            }
            let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
            safetensors::serialize_to_file(&tensors, metadata, &partial.join("model.safetensors"))?;
            opened(partial, &shape)
        };
        imported = Some(write().map_err(|error| {
            let said = format!("{error:#}").replace(&partial.display().to_string(), &out.display().to_string());
            checkpoint_error(file, said)
        })?);
        Ok(())
    })?;
    imported.context("what was written was not looked at: a bug")
}

fn checkpoint_error(file: &Path, problem: String) -> bert::CheckpointError {
    bert::CheckpointError::damaged(file, problem)
}

/// The directory as training would open it.
fn opened(directory: &Path, config: &ModelConfig) -> Result<Imported> {
    let classes = if config.classes.len() < 2 { Classes::unnamed(2) } else { config.classes.clone() };
    let Base { checkpoint, initialised } = Base::open(directory, &classes, None, 0)?;
    let has_head = !initialised.iter().any(|name| name.starts_with("classifier."));
    Ok(Imported {
        kind: checkpoint.config.family.model_type().to_owned(),
        parameters: checkpoint.parameters.count(),
        has_head,
        missing: initialised.iter().map(|name| checkpoint.config.stored_name(name)).collect(),
    })
}

/// The tensors by the names that PyTorch has for them.
fn tensors(graph: &Graph) -> Result<BTreeMap<String, Tensor>> {
    let stored: BTreeMap<&str, &TensorProto> =
        graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut tensors = BTreeMap::new();
    for (name, tensor) in &stored {
        let is_named = !name.contains("::") && !name.starts_with('/');
        if is_named && matches!(tensor.data_type, FLOAT | FLOAT16) {
            tensors.insert((*name).to_owned(), numbers(tensor)?);
        }
    }
    for node in graph.node.iter().filter(|node| node.op_type == "MatMul") {
        let Some(tensor) = node.input.get(1).and_then(|input| stored.get(input.as_str())) else { continue };
        let layer = node.name.trim_matches('/').trim_end_matches("/MatMul").replace('/', ".");
        if !layer.is_empty() && tensor.dims.len() == 2 {
            tensors.insert(format!("{layer}.weight"), numbers(tensor)?.t()?.contiguous()?);
        }
    }
    ensure!(!tensors.is_empty(), "no weight in it has a name that says whose it is");
    Ok(tensors)
}

fn numbers(tensor: &TensorProto) -> Result<Tensor> {
    let name = &tensor.name;
    ensure!(tensor.data_location == 0, "{name}: the numbers stand in another file, which is not read: save it as one");
    let sizes: Vec<usize> = tensor.dims.iter().map(|size| usize::try_from(*size)).collect::<Result<_, _>>()?;
    let raw = &tensor.raw_data;
    let values: Vec<f32> = match tensor.data_type {
        FLOAT if raw.is_empty() => tensor.float_data.clone(),
        FLOAT => raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        FLOAT16 => raw.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
        kind => bail!("{name}: numbers of kind {kind} are not read; f32 and f16 are"),
    };
    ensure!(
        values.len() == sizes.iter().product::<usize>(),
        "{name}: has {} numbers, its sizes say {sizes:?}",
        values.len()
    );
    Ok(Tensor::from_vec(values, sizes, &Device::Cpu)?)
}
