//! What a pretrained encoder makes of a text: its vector, scaled to length 1. Kept on the disk by
//! text and encoder, so that the next training asks for new texts only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bert::checkpoint::Base;
use bert::{Classes, ModelConfig, Parameters, Pooling};
use candle_core::{Device, Tensor};
use classifier::Classifier;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Tokens of a text that are read: what training reads.
const MAX_LENGTH: usize = 128;
/// A pooler of BERT's kind ends with tanh, which is the identity for small numbers to one part in
/// 10^8.
const SMALL: f64 = 1e-4;

type Hash = [u8; 32];

/// A pretrained encoder, ready to make vectors.
pub(crate) struct Embedder {
    /// An encoder whose logits are the numbers of its vector.
    classifier: Classifier,
    width: usize,
    cache: Option<PathBuf>,
}

impl Embedder {
    /// Opens the encoder of a HuggingFace directory. It pools as the directory says
    /// (`1_Pooling/config.json` of sentence-transformers), else by `[CLS]`. `cache` is a directory for
    /// vectors.
    ///
    /// # Errors
    /// What is missing, damaged or does not fit, by file and tensor.
    pub fn open(directory: &Path, cache: Option<&Path>) -> Result<Self> {
        let config = directory.join("config.json");
        let config: Value = serde_json::from_slice(&bert::checkpoint::read_file(&config)?)
            .with_context(|| config.display().to_string())?;
        let width = config["hidden_size"].as_u64().and_then(|width| usize::try_from(width).ok()).unwrap_or(0).max(2);
        let pooling = if means(directory)? { Pooling::Mean } else { Pooling::Cls };
        let base = Base::open(directory, &Classes::unnamed(width), Some(pooling), 0)?.checkpoint;
        let parameters = with_identity(&base.config, &base.parameters, width)?;
        let cache =
            cache.map(|cache| Ok::<_, anyhow::Error>(cache.join(fingerprint(directory, &base.config, &parameters)?)));
        let classifier = Classifier::new(&base.config, &parameters, base.tokenizer)?;
        let length = MAX_LENGTH.min(classifier.max_length());
        Ok(Self { classifier: classifier.with_max_length(length), width, cache: cache.transpose()? })
    }

    /// The vectors of texts, in order.
    ///
    /// # Errors
    /// A text that cannot be encoded. A cache that cannot be used costs time alone.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let hashes: Vec<Hash> = texts.iter().map(|text| Sha256::digest(text).into()).collect();
        let mut known = self.cache.as_deref().map(|file| self.read(file)).unwrap_or_default();
        let mut seen = BTreeSet::new();
        let is_new = |(hash, _): &(&Hash, &&str)| !known.contains_key(*hash) && seen.insert(**hash);
        let (new, texts): (Vec<Hash>, Vec<&str>) = hashes.iter().zip(texts).filter(is_new).unzip();
        let texts: Vec<_> = texts.into_iter().map(|text| (text, classifier::Truncation::Right)).collect();
        let vectors = self.classifier.logits(&texts)?.into_iter().flatten().map(of_length_one);
        let new: Vec<(Hash, Vec<f32>)> = new.into_iter().zip(vectors).collect();
        if let Some(Err(error)) = self.cache.as_deref().map(|file| append(file, &new)) {
            tracing::warn!("embeddings are not kept: {error:#}");
        }
        known.extend(new);
        Ok(hashes.iter().map(|hash| known[hash].clone()).collect())
    }

    /// What is kept; as far as it is whole.
    fn read(&self, file: &Path) -> BTreeMap<Hash, Vec<f32>> {
        let bytes = fs::read(file).unwrap_or_default();
        let entry = |entry: &[u8]| {
            let (hash, vector) = entry.split_at(size_of::<Hash>());
            let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes, or it is a bug"));
            (hash.try_into().expect("a hash, or it is a bug"), vector.chunks_exact(4).map(number).collect())
        };
        bytes.chunks_exact(size_of::<Hash>() + 4 * self.width).map(entry).collect()
    }
}

/// Adds vectors to a file in one write, so that two processes do not mix theirs.
fn append(file: &Path, vectors: &[(Hash, Vec<f32>)]) -> Result<()> {
    if vectors.is_empty() {
        return Ok(());
    }
    let mut bytes = Vec::new();
    for (hash, vector) in vectors {
        bytes.extend(hash);
        vector.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    }
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    Ok(fs::OpenOptions::new().create(true).append(true).open(file)?.write_all(&bytes)?)
}

fn of_length_one(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    vector.iter_mut().for_each(|number| *number /= length);
    vector
}

/// Whether a directory of sentence-transformers takes the mean of a text's token vectors.
fn means(directory: &Path) -> Result<bool> {
    let file = directory.join("1_Pooling/config.json");
    if !file.exists() {
        return Ok(false);
    }
    let pooling: Value =
        serde_json::from_slice(&bert::checkpoint::read_file(&file)?).with_context(|| file.display().to_string())?;
    Ok(pooling["pooling_mode_mean_tokens"] == true)
}

/// The same encoder with a pooler and a head that change nothing: the logits are what was pooled.
fn with_identity(config: &ModelConfig, parameters: &Parameters, width: usize) -> Result<Parameters> {
    let identity = |scale: f64| Tensor::eye(width, candle_core::DType::F32, &Device::Cpu)?.affine(scale, 0.0);
    let nothing = || Tensor::zeros(width, candle_core::DType::F32, &Device::Cpu);
    let mut tensors: BTreeMap<String, Tensor> =
        parameters.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
    let has_pooler = config.pooling == Pooling::Cls;
    if has_pooler {
        tensors.insert("bert.pooler.dense.weight".to_owned(), identity(SMALL)?);
        tensors.insert("bert.pooler.dense.bias".to_owned(), nothing()?);
    }
    tensors.insert("classifier.weight".to_owned(), identity(if has_pooler { 1.0 / SMALL } else { 1.0 })?);
    tensors.insert("classifier.bias".to_owned(), nothing()?);
    Ok(Parameters::new(tensors))
}

/// A name for everything that a vector depends on, but the text.
fn fingerprint(directory: &Path, config: &ModelConfig, parameters: &Parameters) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(config.to_json());
    for (name, tensor) in parameters.iter() {
        hash.update(name);
        let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
        hash.update(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>());
    }
    for file in ["tokenizer.json", "vocab.txt", "tokenizer_config.json"] {
        hash.update(fs::read(directory.join(file)).unwrap_or_default());
    }
    Ok(hex::encode(&hash.finalize()[..16]))
}
