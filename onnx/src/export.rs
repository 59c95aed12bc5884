//! A checkpoint directory to an ONNX file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bert::checkpoint::{self, Checkpoint};
use bert::tokenizer;
use classifier::linear::{self, LinearModel};
use classifier::{Classes, Classifier, ComposedFamily};
use prost::Message as _;
use serde_json::{Value, json};

use crate::graph::{Builder, OPSET};
use crate::linear::linear as linear_graph;
use crate::network::network;
use crate::proto::{Model, Opset, Property};
use crate::rounding::{Weights, rounded};

/// The format's release that goes with the operators'.
const IR_VERSION: i64 = 8;

/// A message of the format has no more bytes, by its own rule.
const MOST_BYTES: usize = i32::MAX as usize;

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Exported {
    /// The kind of model, as `model_type` says it.
    pub kind: String,
    /// Its classes, in the order of the logits.
    pub classes: Vec<String>,
    /// Bytes of the file.
    pub bytes: u64,
    /// The operators' release.
    pub opset: i64,
    /// Files that were laid beside it.
    pub beside: Vec<String>,
    /// Of these texts, the share that the rounded weights label as the others do, and the greatest
    /// difference of a score; nothing where no weights were rounded.
    pub agreement: Option<(f64, f32)>,
}

/// Writes the graph of a checkpoint directory to `file`, and lays beside it what makes its input of
/// a text. `texts` tell what rounding changes.
///
/// # Errors
/// A directory that does not open; a linear model in 8 bits; a file that exists, or cannot be
/// written; a model of 2 GB and more.
pub fn export(directory: &Path, file: &Path, weights: Weights, texts: &[String]) -> Result<Exported> {
    ensure!(!file.exists(), "{}: exists already; give another file, or remove it", file.display());
    let model_type = checkpoint::model_type(directory)?.unwrap_or_default();
    ensure!(
        ComposedFamily::of(&model_type).is_none(),
        "a model of type {model_type} is not exported here: `optimum-cli export onnx` does it"
    );
    let is_linear = model_type == linear::MODEL_TYPE;
    let (graph, classes, kind, agreement) = if is_linear {
        ensure!(weights == Weights::F32, "a linear model has no layers to round: leave int8 out");
        let model = LinearModel::open(directory)?;
        (linear_graph(&model)?, model.classes().clone(), linear::MODEL_TYPE.to_owned(), None)
    } else {
        let checkpoint = Checkpoint::open(directory)?;
        let agreement = (weights == Weights::Int8).then(|| agreement(&checkpoint, texts)).transpose()?;
        let Checkpoint { config, parameters, .. } = checkpoint;
        let kind = config.family.model_type().to_owned();
        (network(&config, &parameters, weights)?, config.classes, kind, agreement)
    };
    let bytes = model(graph, &classes, &kind)?.encode_to_vec();
    ensure!(
        bytes.len() <= MOST_BYTES,
        "{} MB: an ONNX file has 2 GB at most; with int8 the layers take a quarter of their size",
        bytes.len() / 1_000_000
    );
    let home = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(home).with_context(|| home.display().to_string())?;
    let beside = lay_beside(directory, home, is_linear)?;
    fs::write(file, &bytes).with_context(|| file.display().to_string())?;
    let classes = classes.names().to_vec();
    Ok(Exported { kind, classes, bytes: bytes.len() as u64, opset: OPSET, beside, agreement })
}

fn model(graph: Builder, classes: &Classes, kind: &str) -> Result<Model> {
    let labels = serde_json::to_string(classes.names())?;
    let property = |key: &str, value: &str| Property { key: key.to_owned(), value: value.to_owned() };
    Ok(Model {
        ir_version: IR_VERSION,
        producer_name: "labelstream".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: "The softmax of the logits is the probability of each class of `classes`.".to_owned(),
        graph: Some(graph.finish(kind)),
        opset_import: vec![Opset { domain: String::new(), version: OPSET }],
        metadata_props: vec![property("classes", &labels), property("model_type", kind)],
    })
}

/// What rounding changes of the scores.
fn agreement(checkpoint: &Checkpoint, texts: &[String]) -> Result<(f64, f32)> {
    let Checkpoint { config, parameters, tokenizer } = checkpoint;
    let scores = |parameters| -> Result<Vec<classifier::Prediction>> {
        Ok(Classifier::new(config, parameters, tokenizer.clone(), None)?.classify(texts)?)
    };
    let (exact, rounded) = (scores(parameters)?, scores(&rounded(parameters)?)?);
    let pairs = || exact.iter().zip(&rounded);
    let same = pairs().filter(|(exact, rounded)| exact.best().0 == rounded.best().0).count();
    let differences = pairs().flat_map(|(exact, rounded)| exact.scores.iter().zip(&rounded.scores));
    let greatest = differences.map(|(exact, rounded)| (exact - rounded).abs()).fold(0.0, f32::max);
    Ok((same as f64 / texts.len().max(1) as f64, greatest))
}

/// Copies the tokenizer, or writes the features of a linear model; never over another file.
fn lay_beside(directory: &Path, home: &Path, is_linear: bool) -> Result<Vec<String>> {
    let place = |name: &str| -> Result<PathBuf> {
        let place = home.join(name);
        ensure!(!place.exists(), "{}: exists already; give a directory of its own", place.display());
        Ok(place)
    };
    if is_linear {
        let model = LinearModel::open(directory)?;
        let features: Vec<Value> = model.weights().features.iter().map(|hash| json!(format!("{hash:016x}"))).collect();
        let range = model.range();
        let text = json!({
            "ngram_range": [range.0, range.1],
            "hash": "FNV-1a of the units' bytes, each behind a separator, scattered; see classifier/src/linear/ngrams.rs",
            "features": features,
        });
        fs::write(place("features.json")?, text.to_string())?;
        return Ok(vec!["features.json".to_owned()]);
    }
    let names = std::iter::once("config.json").chain(tokenizer::FILES);
    let names: Vec<&str> = names.filter(|name| directory.join(name).exists()).collect();
    if fs::canonicalize(directory)? == fs::canonicalize(home)? {
        return Ok(names.into_iter().map(str::to_owned).collect());
    }
    let places = names.iter().map(|name| place(name)).collect::<Result<Vec<_>>>()?;
    for (name, place) in names.iter().zip(places) {
        fs::copy(directory.join(name), &place).with_context(|| place.display().to_string())?;
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}
