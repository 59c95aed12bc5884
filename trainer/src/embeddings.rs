//! What a pretrained encoder makes of a text: its vector, scaled to length 1. Kept on the disk by
//! text and encoder, so that the next training asks for new texts only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bert::checkpoint::{Base, Checkpoint};
use bert::{Activation, Classes, ModelConfig, Parameters, Pooling};
use candle_core::{Device, Tensor};
use classifier::Classifier;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::contrastive::tune;

/// Tokens of a text that are read: what training reads.
const MAX_LENGTH: usize = 128;
/// Tokens that are read where the encoder is tuned.
const TUNED_LENGTH: usize = 64;
/// A pooler of BERT's kind ends with tanh, which is the identity for small numbers to one part in
/// 10^8.
const SMALL: f64 = 1e-4;

type Hash = [u8; 32];

/// A pretrained encoder, ready to make vectors.
pub(crate) struct Embedder {
    /// An encoder whose logits are the numbers of its vector.
    classifier: Classifier,
    /// The same as it can be tuned; nothing where it cannot.
    encoder: Option<Checkpoint>,
    width: usize,
    cache: Option<PathBuf>,
}

impl Embedder {
    /// Opens the encoder of a HuggingFace directory. It pools as the directory says
    /// (`1_Pooling/config.json` of sentence-transformers), else by `[CLS]`. `cache` is a directory
    /// for vectors.
    ///
    /// # Errors
    /// What is missing, damaged or does not fit, by file and tensor.
    pub fn open(directory: &Path, cache: Option<&Path>) -> Result<Self> {
        if let Some(classifier) = Classifier::open_vectors(directory, &Device::Cpu, means(directory)?)? {
            let width = classifier.classes().len();
            let cache = cache.map(|cache| Ok::<_, anyhow::Error>(cache.join(of_files(directory)?))).transpose()?;
            return Ok(Self::over(classifier, None, width, cache));
        }
        let width = bert::checkpoint::read_config(directory)?.hidden_size.max(2);
        let pooling = if means(directory)? { Pooling::Mean } else { Pooling::Cls };
        let mut base = Base::open(directory, &Classes::unnamed(width), Some(pooling), 0)?.checkpoint;
        // Of all that bend a head's vector, tanh alone leaves small numbers as they are.
        base.config.head_activation = Activation::Tanh;
        let parameters = with_identity(&base.config, &base.parameters, width)?;
        let cache =
            cache.map(|cache| Ok::<_, anyhow::Error>(cache.join(fingerprint(directory, &base.config, &parameters)?)));
        Self::of(Checkpoint { config: base.config, parameters, tokenizer: base.tokenizer }, width, cache.transpose()?)
    }

    fn of(encoder: Checkpoint, width: usize, cache: Option<PathBuf>) -> Result<Self> {
        let classifier = Classifier::new(&encoder.config, &encoder.parameters, encoder.tokenizer.clone(), None)?;
        Ok(Self::over(classifier, Some(encoder), width, cache))
    }

    fn over(classifier: Classifier, encoder: Option<Checkpoint>, width: usize, cache: Option<PathBuf>) -> Self {
        let length = MAX_LENGTH.min(classifier.max_length());
        Self { classifier: classifier.with_max_length(length), encoder, width, cache }
    }

    /// The same encoder, tuned on texts of these classes; its vectors are not kept.
    ///
    /// # Errors
    /// A text that cannot be encoded; texts of one class.
    pub fn tuned(&self, texts: &[&str], classes: &[usize], threads: usize) -> Result<Self> {
        let kind = self.classifier.kind();
        let encoder = self.encoder.as_ref().with_context(|| format!("an encoder of kind {kind} is not tuned here"))?;
        let ids = encoder.tokenizer.encode_batch(texts, TUNED_LENGTH.min(self.classifier.max_length()))?;
        let parameters = tune(encoder, &ids, classes, threads)?;
        Self::of(Checkpoint { parameters, ..encoder.clone() }, self.width, None)
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
        if let Some(Err(error)) = self.cache.as_deref().map(|file| self.append(file, &new)) {
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
        bytes.chunks_exact(self.entry()).map(entry).collect()
    }

    /// Adds vectors to a file. What a killed process has left half written goes before.
    fn append(&self, file: &Path, vectors: &[(Hash, Vec<f32>)]) -> Result<()> {
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
        let mut kept = fs::OpenOptions::new().create(true).append(true).open(file)?;
        let length = kept.metadata()?.len();
        kept.set_len(length - length % self.entry() as u64)?;
        Ok(kept.write_all(&bytes)?)
    }

    /// Bytes of a text in the file: its hash and its vector.
    fn entry(&self) -> usize {
        size_of::<Hash>() + 4 * self.width
    }
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
    let pooling: BTreeMap<String, Value> =
        serde_json::from_slice(&bert::checkpoint::read_file(&file)?).with_context(|| file.display().to_string())?;
    let modes: Vec<&str> = pooling
        .iter()
        .filter(|(name, value)| name.starts_with("pooling_mode_") && **value == true)
        .map(|(name, _)| name.as_str())
        .collect();
    match modes[..] {
        ["pooling_mode_mean_tokens"] => Ok(true),
        // Of a decoder, which is the only kind of which the last token knows the whole text.
        [] | ["pooling_mode_cls_token" | "pooling_mode_lasttoken"] => Ok(false),
        _ => bail!("{}: {}: only the [CLS] token's vector or the mean is supported", file.display(), modes.join(", ")),
    }
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

/// The same for an encoder of which no parameters are at hand: of its files.
fn of_files(directory: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let weights = bert::checkpoint::weight_files(directory)?;
    let names = ["config.json", "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json"];
    for name in names.into_iter().map(str::to_owned).chain(weights) {
        hash.update(&name);
        hash.update(fs::read(directory.join(&name)).unwrap_or_default());
    }
    Ok(hex::encode(&hash.finalize()[..16]))
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
    for file in ["tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]
    {
        hash.update(fs::read(directory.join(file)).unwrap_or_default());
    }
    Ok(hex::encode(&hash.finalize()[..16]))
}

#[cfg(test)]
mod tests {
    use harness::save_tiny_model;

    use super::*;

    const TEXTS: [&str; 4] = ["很快，好吃。", "太慢了", "很快，好吃。", "不来 review"];

    fn encoder() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        save_tiny_model(&directory.path().join("encoder"), &["bad", "good"], 1);
        directory
    }

    /// What the reference makes of `[CLS]`: a pooler and a head of ones and zeros pick one number
    /// after the other, through tanh.
    fn by_reference(directory: &Path, text: &str) -> Vec<f32> {
        let base = Base::open(directory, &Classes::unnamed(32), Some(Pooling::Cls), 0).unwrap().checkpoint;
        let mut tensors: BTreeMap<String, Tensor> =
            base.parameters.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
        let eye = Tensor::eye(32, candle_core::DType::F32, &Device::Cpu).unwrap();
        let zeros = Tensor::zeros(32, candle_core::DType::F32, &Device::Cpu).unwrap();
        tensors.insert("bert.pooler.dense.weight".to_owned(), (eye.clone() * 0.1).unwrap());
        tensors.insert("bert.pooler.dense.bias".to_owned(), zeros.clone());
        tensors.insert("classifier.weight".to_owned(), eye);
        tensors.insert("classifier.bias".to_owned(), zeros);
        let model = bert::Reference::new(&base.config, &Parameters::new(tensors)).unwrap();
        let ids = base.tokenizer.encode_batch(&[text], 128).unwrap();
        let pooled = model.forward(&bert::TokenBatch::new(&[&ids[0][..]]), None).unwrap().to_vec2::<f32>().unwrap();
        of_length_one(pooled[0].iter().map(|number| number.atanh() / 0.1).collect())
    }

    #[test]
    fn a_vector_is_what_the_encoder_makes_of_cls_at_length_one() {
        let directory = encoder();
        let encoder = directory.path().join("encoder");
        let vectors = Embedder::open(&encoder, None).unwrap().embed(&TEXTS).unwrap();
        for (vector, text) in vectors.iter().zip(TEXTS) {
            for (number, expected) in vector.iter().zip(by_reference(&encoder, text)) {
                assert!((number - expected).abs() < 1e-3, "{text}: {number} {expected}");
            }
        }
        assert_eq!(vectors[0], vectors[2]);
    }

    #[test]
    fn an_encoder_of_candle_transformers_gives_vectors_of_length_one_and_is_not_tuned() {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../classifier/tests/composed");
        let cache = tempfile::tempdir().unwrap();
        for name in ["modernbert", "deberta_v3", "qwen3"] {
            let embedder = Embedder::open(&home.join(name), Some(cache.path())).unwrap();
            let vectors = embedder.embed(&TEXTS).unwrap();
            for vector in &vectors {
                let length: f32 = vector.iter().map(|number| number * number).sum();
                assert!(vector.len() == 32 && (length - 1.0).abs() < 1e-4, "{name}: {length}");
            }
            assert!(vectors[0] == vectors[2] && vectors[0] != vectors[1], "{name}");
            let error = embedder.tuned(&["好", "差"], &[0, 1], 1).err().unwrap().to_string();
            assert!(error.contains("is not tuned here"), "{error}");
        }
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 3);
    }

    #[test]
    fn tuned_on_labels_texts_of_one_class_are_nearer_to_each_other_than_to_others() {
        let directory = encoder();
        let mut embedder = Embedder::open(&directory.path().join("encoder"), None).unwrap();
        // Of small random weights nothing but the position comes through.
        let larger = |(name, tensor): (&str, &Tensor)| {
            let is_matrix = name.starts_with("bert.encoder") && tensor.rank() == 2;
            (name.to_owned(), if is_matrix { (tensor * 15.0).unwrap() } else { tensor.clone() })
        };
        let encoder = embedder.encoder.clone().unwrap();
        let parameters = Parameters::new(encoder.parameters.iter().map(larger).collect());
        embedder = Embedder::of(Checkpoint { parameters, ..encoder }, embedder.width, None).unwrap();
        let texts: Vec<String> =
            (0..24).map(|index| format!("{}{index}", ["很快，好吃", "太慢了，不来"][index % 2])).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let classes: Vec<usize> = (0..24).map(|index| index % 2).collect();
        let gap = |embedder: &Embedder| {
            let vectors = embedder.embed(&texts).unwrap();
            let (mut alike, mut apart) = ((0.0, 0), (0.0, 0));
            for one in 0..24 {
                for other in 0..one {
                    let cosine: f32 = vectors[one].iter().zip(&vectors[other]).map(|(one, other)| one * other).sum();
                    let sum = if classes[one] == classes[other] { &mut alike } else { &mut apart };
                    *sum = (sum.0 + cosine, sum.1 + 1);
                }
            }
            alike.0 / alike.1 as f32 - apart.0 / apart.1 as f32
        };
        let tuned = embedder.tuned(&texts, &classes, 2).unwrap();
        assert!(gap(&tuned) > gap(&embedder) + 0.05, "{} after {}", gap(&tuned), gap(&embedder));
        assert_eq!(tuned.embed(&texts).unwrap(), embedder.tuned(&texts, &classes, 2).unwrap().embed(&texts).unwrap());
        assert!(embedder.tuned(&texts, &[0; 24], 2).is_err());
    }

    #[test]
    fn vectors_are_kept_and_what_is_half_written_is_made_again() {
        let directory = encoder();
        let (encoder, cache) = (directory.path().join("encoder"), directory.path().join("cache"));
        let embedder = Embedder::open(&encoder, Some(&cache)).unwrap();
        let vectors = embedder.embed(&TEXTS).unwrap();
        let file = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        let bytes = fs::read(&file).unwrap();
        assert_eq!(bytes.len(), 3 * embedder.entry(), "each text once");
        fs::write(&file, &bytes[..bytes.len() - 5]).unwrap();
        for _ in 0..2 {
            assert_eq!(embedder.embed(&TEXTS).unwrap(), vectors);
            assert_eq!(fs::read(&file).unwrap().len(), bytes.len());
        }
        assert_eq!(Embedder::open(&encoder, Some(&cache)).unwrap().embed(&TEXTS[..1]).unwrap(), vectors[..1]);
    }

    #[test]
    fn a_directory_of_sentence_transformers_pools_as_it_says_or_is_refused() {
        let directory = encoder();
        let encoder = directory.path().join("encoder");
        fs::create_dir(encoder.join("1_Pooling")).unwrap();
        let open = |mode: &str| {
            fs::write(encoder.join("1_Pooling/config.json"), format!("{{\"{mode}\": true}}")).unwrap();
            Embedder::open(&encoder, None).and_then(|embedder| embedder.embed(&TEXTS[..1]))
        };
        assert_ne!(open("pooling_mode_cls_token").unwrap(), open("pooling_mode_mean_tokens").unwrap());
        let refused = open("pooling_mode_max_tokens").unwrap_err().to_string();
        assert!(refused.contains("1_Pooling/config.json") && refused.contains("pooling_mode_max_tokens"), "{refused}");
    }
}
