//! Everything between a text and a prediction, whatever the model.

use std::path::Path;
use std::sync::Arc;

use bert::checkpoint::{self, Checkpoint, CheckpointError};
use bert::{Classes, ModelConfig, Parameters, Tokenizer, parallel};
use candle_core::{Device, Result, bail};

use crate::composed::{Composed, ComposedFamily, Wanted};
use crate::kind::ModelKind;
use crate::linear::{self, LinearModel, Ngrams};
use crate::network::Network;
use crate::precision::Precision;
use crate::prediction::Prediction;
use crate::text_encoder::{TextEncoder, TooLong, Truncation};

/// Longest text of a BERT by default, and of nearly every one.
const MAX_LENGTH: usize = 512;

/// A model and its classes, whatever its kind: everything between a text and a prediction.
#[derive(Clone, Debug)]
pub struct Classifier {
    engine: Engine,
    classes: Classes,
    max_length: usize,
}

#[derive(Clone, Debug)]
enum Engine {
    Bert(Box<Network>),
    Linear(Arc<LinearModel>),
}

impl Classifier {
    /// Opens a checkpoint directory: a BERT with a classification head, or a [`linear`] model, as
    /// its `config.json` says. A BERT computes in f32 on the CPU and in bf16 on a GPU.
    ///
    /// # Errors
    /// Whatever is missing, damaged or does not fit, by file and tensor.
    pub fn open(directory: &Path, device: &Device) -> std::result::Result<Self, CheckpointError> {
        Self::open_with(directory, device, None)
    }

    /// As [`open`](Self::open), to compute with this precision whatever the checkpoint was saved
    /// with. A linear model has one precision, f32, whatever is asked for; so have a network of
    /// candle-transformers, and a BERT of sizes that the GPU's kernels cannot do, if bf16 is.
    ///
    /// # Errors
    /// As `open`; int8 on a GPU, bf16 on the CPU.
    pub fn open_with(
        directory: &Path,
        device: &Device,
        precision: Option<Precision>,
    ) -> std::result::Result<Self, CheckpointError> {
        let model_type = checkpoint::model_type(directory)?;
        if model_type.as_deref() == Some(linear::MODEL_TYPE) {
            return Ok(Self::linear(LinearModel::open(directory)?));
        }
        if let Some(family) = model_type.as_deref().and_then(ComposedFamily::of) {
            let (composed, tokenizer) = Composed::open(family, directory, device, Wanted::Classes)?;
            let classes = composed.classes.clone();
            return Ok(Self::over(Network::composed(composed, tokenizer), classes));
        }
        if let Some((precision, place)) = match (precision, device.is_cpu()) {
            (Some(Precision::Bf16), true) => Some((Precision::Bf16, "a GPU")),
            (Some(Precision::Int8), false) => Some((Precision::Int8, "the CPU")),
            _ => None,
        } {
            let problem = format!("it runs on {place} alone");
            return Err(CheckpointError::Precision {
                directory: directory.to_owned(),
                precision: precision.name(),
                problem,
            });
        }
        let Checkpoint { config, parameters, tokenizer } = Checkpoint::open(directory)?;
        let on_device =
            parameters.to_device(device).and_then(|parameters| Self::new(&config, &parameters, tokenizer, precision));
        on_device.map_err(|error| CheckpointError::damaged(directory, gpu::explain(error)))
    }

    /// An encoder that candle-transformers computes, as a classifier whose logits are the numbers of
    /// a text's vector: that of the first token or the mean of all, of a decoder that of the last.
    /// Nothing where the directory has a model of another kind.
    ///
    /// # Errors
    /// As `open`; a head is not needed.
    pub fn open_vectors(
        directory: &Path,
        device: &Device,
        is_mean: bool,
    ) -> std::result::Result<Option<Self>, CheckpointError> {
        let model_type = checkpoint::model_type(directory)?;
        let Some(family) = model_type.as_deref().and_then(ComposedFamily::of) else { return Ok(None) };
        let (composed, tokenizer) = Composed::open(family, directory, device, Wanted::Vectors { is_mean })?;
        let classes = composed.classes.clone();
        Ok(Some(Self::over(Network::composed(composed, tokenizer), classes)))
    }

    /// A classifier over a BERT in memory, where its parameters are. On the CPU it gets a copy of
    /// them in the order that it reads them in. Without a precision it is the device's fastest that
    /// gives the checkpoint's labels, as it serves.
    ///
    /// # Errors
    /// Parameters that do not fit the configuration; a precision that the device has not.
    pub fn new(
        config: &ModelConfig,
        parameters: &Parameters,
        tokenizer: Tokenizer,
        precision: Option<Precision>,
    ) -> Result<Self> {
        Ok(Self::over(Network::new(config, parameters, tokenizer, precision)?, config.classes.clone()))
    }

    fn over(network: Network, classes: Classes) -> Self {
        let wanted = network.tokenizer().max_length().unwrap_or(MAX_LENGTH);
        let max_length = network.positions().min(MAX_LENGTH).min(wanted);
        Self { engine: Engine::Bert(Box::new(network)), classes, max_length }
    }

    /// A classifier over a linear model in memory; it runs on the CPU.
    pub fn linear(model: LinearModel) -> Self {
        let classes = model.classes().clone();
        Self { engine: Engine::Linear(Arc::new(model)), classes, max_length: linear::MAX_UNITS }
    }

    /// What the classifier is.
    pub fn kind(&self) -> ModelKind {
        match &self.engine {
            Engine::Bert(network) => network.kind(),
            Engine::Linear(_) => ModelKind::Linear,
        }
    }

    /// What computes, and where, for people.
    pub fn engine(&self) -> &'static str {
        match &self.engine {
            Engine::Bert(network) => network.engine(),
            Engine::Linear(_) => "own engine (CPU)",
        }
    }

    /// How exactly it computes.
    pub fn precision(&self) -> Precision {
        match &self.engine {
            Engine::Bert(network) => network.precision(),
            Engine::Linear(_) => Precision::F32,
        }
    }

    /// The class names, in the order of the scores.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// The number of tokens a text is truncated to: of a BERT, `[CLS]` and `[SEP]` included; of a
    /// linear model, its units, which are words or characters.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The same classifier with texts truncated to `tokens`, between 2 and what the model can take.
    pub fn with_max_length(self, tokens: usize) -> Self {
        let greatest = match &self.engine {
            Engine::Bert(network) => network.positions(),
            Engine::Linear(_) => linear::MAX_UNITS,
        };
        Self { max_length: tokens.clamp(2, greatest), ..self }
    }

    /// Labels any number of texts of any mix of lengths, in order, on all cores.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn classify<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Prediction>> {
        match &self.engine {
            Engine::Bert(network) => network.classify_tokens(&network.encode(texts, self.max_length)?),
            Engine::Linear(model) => model.classify(texts, self.max_length),
        }
    }

    /// What [`classify`](Self::classify) takes the softmax of, for each text: a network's logits, a
    /// linear model's sums of weights.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn logits(&self, texts: &[(&str, Truncation)]) -> Result<Vec<std::result::Result<Vec<f32>, TooLong>>> {
        match &self.engine {
            Engine::Bert(network) => {
                let encoder = TextEncoder::new(network.tokenizer().clone(), self.max_length);
                let ids = parallel::map(texts, |(text, truncation)| encoder.encode_one(text, *truncation))?;
                with_those_that_are_read(ids, |ids| network.logits(&ids))
            }
            Engine::Linear(model) => {
                let cut = parallel::map(texts, |(text, truncation)| Ok(model.cut(text, self.max_length, *truncation)))?;
                with_those_that_are_read(cut, |texts| model.logits(&texts, self.max_length))
            }
        }
    }

    /// Labels texts that are token ids already, special tokens included.
    ///
    /// # Errors
    /// A linear model, which has no token ids; an id that the embedding has no row for, a text
    /// longer than the model has positions; failures of the device.
    pub fn classify_tokens<T: AsRef<[u32]> + Sync>(&self, texts: &[T]) -> Result<Vec<Prediction>> {
        match &self.engine {
            Engine::Bert(network) => network.classify_tokens(texts),
            Engine::Linear(_) => bail!("a linear model reads texts, not token ids"),
        }
    }

    /// What makes token ids of texts for [`classify_tokens`](Self::classify_tokens); a linear model
    /// has none.
    pub fn encoder(&self) -> Option<TextEncoder> {
        match &self.engine {
            Engine::Bert(network) => Some(TextEncoder::new(network.tokenizer().clone(), self.max_length)),
            Engine::Linear(_) => None,
        }
    }

    /// How many tokens the model sees of each text, after truncation.
    ///
    /// # Errors
    /// As [`classify`](Self::classify).
    pub fn count_tokens<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<usize>> {
        match &self.engine {
            Engine::Bert(network) => Ok(network.encode(texts, self.max_length)?.iter().map(Vec::len).collect()),
            Engine::Linear(model) => {
                let mut ngrams = Ngrams::new(model.range(), self.max_length);
                Ok(texts.iter().map(|text| ngrams.count_units(text.as_ref())).collect())
            }
        }
    }

    /// How many multiplications and additions the layers' matrix products are for texts of so many
    /// tokens: those of tokens, not of padding, and those whose result is read. 0 for a linear
    /// model.
    pub fn operations(&self, lengths: &[usize]) -> f64 {
        match &self.engine {
            Engine::Bert(network) => network.operations(lengths),
            Engine::Linear(_) => 0.0,
        }
    }

    /// A forward pass over a fixed text: finite scores that sum to 1.
    ///
    /// # Errors
    /// Anything else.
    pub fn canary(&self) -> Result<()> {
        for Prediction { scores } in self.classify(&["送得很快，味道不错。 Fast and good!"])? {
            let sum: f32 = scores.iter().sum();
            if scores.iter().any(|score| !score.is_finite()) || (sum - 1.0).abs() > 1e-3 {
                bail!("the model answers a fixed text with scores {scores:?}");
            }
        }
        Ok(())
    }
}

/// Does the work for what is not too long, and puts each result in its place.
fn with_those_that_are_read<T, R>(
    texts: Vec<std::result::Result<T, TooLong>>,
    work: impl FnOnce(Vec<T>) -> Result<Vec<R>>,
) -> Result<Vec<std::result::Result<R, TooLong>>> {
    let mut refused = Vec::with_capacity(texts.len());
    let mut read = Vec::with_capacity(texts.len());
    for text in texts {
        refused.push(text.map(|text| read.push(text)));
    }
    let mut results = work(read)?.into_iter();
    let mut result = |()| results.next().expect("a result for each text, or it is a bug");
    Ok(refused.into_iter().map(|text| text.map(&mut result)).collect())
}
