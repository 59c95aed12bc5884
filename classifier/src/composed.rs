//! Encoders and decoders that are not BERT's relatives, as candle-transformers has them: served,
//! more slowly than the own engine would, and not trained.

mod settings;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use bert::checkpoint::{self, CheckpointError};
use bert::{Classes, TokenBatch, Tokenizer};
use candle_core::{DType, Device, IndexOp as _, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{debertav2, modernbert, qwen3};
use serde_json::Value;

/// What candle-transformers computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComposedFamily {
    /// ModernBERT (Warner and others, 2024), and mmBERT.
    ModernBert,
    /// DeBERTa in its second and third version (He and others, 2021).
    DebertaV2,
    /// Qwen3, a decoder: its last token's vector is classified.
    Qwen3,
}

impl ComposedFamily {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ModernBert, Self::DebertaV2, Self::Qwen3];

    /// `model_type` of `config.json`.
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::ModernBert => "modernbert",
            Self::DebertaV2 => "deberta-v2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// The family of a `model_type`.
    pub fn of(model_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.model_type() == model_type)
    }

    /// What stands before the names of the encoder's tensors, where a head is beside it.
    fn prefix(self) -> &'static str {
        match self {
            Self::ModernBert | Self::Qwen3 => "model.",
            Self::DebertaV2 => "deberta.",
        }
    }

    /// The parameters without which there is no classifier.
    fn head(self) -> &'static str {
        match self {
            Self::ModernBert | Self::DebertaV2 => "classifier.weight",
            Self::Qwen3 => "score.weight",
        }
    }
}

/// What a model is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The logits of its classes.
    Classes,
    /// The numbers of a text's vector: of the first token, or the mean of all; of a decoder that of
    /// the last.
    Vectors {
        /// The mean.
        is_mean: bool,
    },
}

/// A model on its device.
pub(crate) struct Composed {
    pub family: ComposedFamily,
    pub classes: Classes,
    /// Tokens of the longest text.
    pub longest: usize,
    model: Model,
    pub device: Device,
    /// What fills up shorter texts.
    padding: u32,
    /// Rows of the word embedding.
    rows: usize,
}

enum Model {
    ModernBert(Box<modernbert::ModernBertForSequenceClassification>),
    DebertaV2(Box<debertav2::DebertaV2SeqClassificationModel>),
    /// As it is before any text: it remembers what it has read.
    Qwen3 {
        decoder: Box<qwen3::Model>,
        /// (width, classes); without it the vector of the last token is given.
        head: Option<Tensor>,
    },
    /// Without a head: the vector of the first token, or the mean.
    Encoder {
        encoder: Encoder,
        is_mean: bool,
    },
}

enum Encoder {
    ModernBert(Box<modernbert::ModernBert>),
    DebertaV2(Box<debertav2::DebertaV2Model>),
}

impl Composed {
    /// Opens a directory of this family: with its head, or without it for vectors.
    ///
    /// # Errors
    /// Whatever is missing, damaged or does not fit.
    pub fn open(
        family: ComposedFamily,
        directory: &Path,
        device: &Device,
        wanted: Wanted,
    ) -> std::result::Result<(Self, Tokenizer), CheckpointError> {
        let file = directory.join("config.json");
        let stored: Value = serde_json::from_slice(&checkpoint::read_file(&file)?)
            .map_err(|error| CheckpointError::damaged(&file, error))?;
        let classes = match wanted {
            Wanted::Classes => checkpoint::read_classes(directory)?,
            Wanted::Vectors { .. } => {
                Classes::unnamed(stored["hidden_size"].as_u64().unwrap_or(0).min(65_536) as usize)
            }
        };
        let unfit = |problem: String| CheckpointError::damaged(&file, problem);
        let config = settings::complete(family, &stored, &classes).map_err(unfit)?;
        let mut tensors: HashMap<String, Tensor> = checkpoint::read_tensors(directory)?.into_iter().collect();
        if !tensors.keys().any(|name| name.starts_with(family.prefix())) {
            // An encoder that was saved without a head.
            tensors =
                tensors.into_iter().map(|(name, tensor)| (format!("{}{name}", family.prefix()), tensor)).collect();
        }
        let tokenizer = Tokenizer::open(directory)?;
        let opened = Self::new(family, config, classes, tensors, device, wanted);
        let opened = opened.map_err(|error| CheckpointError::damaged(directory, gpu::explain(error)))?;
        if tokenizer.vocab_size() > opened.rows {
            let problem = "the embedding has too few rows for the tokenizer's entries";
            return Err(CheckpointError::damaged(directory, problem));
        }
        Ok((opened, tokenizer))
    }

    fn new(
        family: ComposedFamily,
        config: Value,
        classes: Classes,
        tensors: HashMap<String, Tensor>,
        device: &Device,
        wanted: Wanted,
    ) -> Result<Self> {
        let failed = |error: serde_json::Error| candle_core::Error::Msg(format!("config.json: {error}"));
        if wanted == Wanted::Classes && !tensors.contains_key(family.head()) {
            candle_core::bail!("{}: missing: an encoder without a classification head cannot classify", family.head());
        }
        let layers = config["num_hidden_layers"].as_u64().unwrap_or(0);
        if family == ComposedFamily::ModernBert {
            // candle-transformers takes one that is missing for one that is not meant to be.
            for layer in 1..layers {
                let name = format!("model.layers.{layer}.attn_norm.weight");
                if !tensors.contains_key(&name) {
                    candle_core::bail!("{name}: missing");
                }
            }
        }
        let number = |name: &str| config[name].as_u64().unwrap_or(0);
        let (longest, rows) = (number("max_position_embeddings") as usize, number("vocab_size") as usize);
        // Nobody looks at it, so any that has a row will do.
        let padding = if number("pad_token_id") < rows as u64 { number("pad_token_id") as u32 } else { 0 };
        let variables = VarBuilder::from_tensors(tensors, DType::F32, device);
        let model = match (family, wanted) {
            (ComposedFamily::ModernBert, Wanted::Classes) => {
                let config = serde_json::from_value(config).map_err(failed)?;
                let model = modernbert::ModernBertForSequenceClassification::load(variables, &config)?;
                Model::ModernBert(Box::new(model))
            }
            (ComposedFamily::ModernBert, Wanted::Vectors { is_mean }) => {
                let config = serde_json::from_value(config).map_err(failed)?;
                let encoder = Encoder::ModernBert(Box::new(modernbert::ModernBert::load(variables, &config)?));
                Model::Encoder { encoder, is_mean }
            }
            (ComposedFamily::DebertaV2, Wanted::Classes) => {
                let (config, variables) = (serde_json::from_value(config).map_err(failed)?, variables.pp("deberta"));
                Model::DebertaV2(Box::new(debertav2::DebertaV2SeqClassificationModel::load(variables, &config, None)?))
            }
            (ComposedFamily::DebertaV2, Wanted::Vectors { is_mean }) => {
                let (config, variables) = (serde_json::from_value(config).map_err(failed)?, variables.pp("deberta"));
                let encoder = Encoder::DebertaV2(Box::new(debertav2::DebertaV2Model::load(variables, &config)?));
                Model::Encoder { encoder, is_mean }
            }
            (ComposedFamily::Qwen3, _) => {
                let config: qwen3::Config = serde_json::from_value(config).map_err(failed)?;
                let head = || variables.get((classes.len(), config.hidden_size), "score.weight")?.t()?.contiguous();
                let head = (wanted == Wanted::Classes).then(head).transpose()?;
                Model::Qwen3 { decoder: Box::new(qwen3::Model::new(&config, variables)?), head }
            }
        };
        Ok(Self { family, classes, longest, model, device: device.clone(), padding, rows })
    }

    /// What the softmax is taken of, one row a text.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn forward(&self, batch: &TokenBatch) -> Result<Vec<Vec<f32>>> {
        batch.check(self.rows, self.longest)?;
        if let Model::Qwen3 { decoder, head } = &self.model {
            // A decoder sees what is before a token alone: texts of other lengths would stand in
            // its way, so each goes alone.
            let text = |range: std::ops::Range<usize>| {
                let ids = Tensor::new(&batch.ids()[range.clone()], &self.device)?.unsqueeze(0)?;
                let hidden = decoder.as_ref().clone().forward(&ids, 0)?;
                let last = hidden.i((.., range.len() - 1))?;
                head.as_ref().map_or(Ok(last.clone()), |head| last.matmul(head))?.i(0)?.to_vec1()
            };
            return batch.ranges().map(text).collect();
        }
        let longest = batch.ranges().map(|range| range.len()).max().unwrap_or(0);
        let (mut ids, mut mask) = (Vec::new(), Vec::new());
        for range in batch.ranges() {
            let length = range.len();
            ids.extend_from_slice(&batch.ids()[range]);
            ids.resize(ids.len() + longest - length, self.padding);
            mask.resize(mask.len() + length, 1_u32);
            mask.resize(mask.len() + longest - length, 0);
        }
        let shape = (batch.texts(), longest);
        let (ids, mask) = (Tensor::from_vec(ids, shape, &self.device)?, Tensor::from_vec(mask, shape, &self.device)?);
        match &self.model {
            // It gives probabilities, whose logarithms are logits as good as those they were made
            // of; of 0 there would be none.
            Model::ModernBert(model) => {
                model.forward(&ids, &mask)?.affine(1.0, f32::MIN_POSITIVE.into())?.log()?.to_vec2()
            }
            Model::DebertaV2(model) => model.forward(&ids, None, Some(mask))?.to_vec2(),
            Model::Encoder { encoder, is_mean } => {
                let hidden = match encoder {
                    Encoder::ModernBert(model) => model.forward(&ids, &mask)?,
                    Encoder::DebertaV2(model) => model.forward(&ids, None, Some(mask.clone()))?,
                };
                if !is_mean {
                    return hidden.i((.., 0))?.to_vec2();
                }
                let mask = mask.to_dtype(DType::F32)?;
                let sum = hidden.broadcast_mul(&mask.unsqueeze(2)?)?.sum(1)?;
                sum.broadcast_div(&mask.sum_keepdim(1)?)?.to_vec2()
            }
            Model::Qwen3 { .. } => unreachable!("it has returned above"),
        }
    }
}

impl fmt::Debug for Composed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Composed")
            .field("family", &self.family)
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}
