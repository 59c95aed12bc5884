use std::path::Path;

use candle_core::{Device, Result};

use crate::model::{ModelConfig, Parameters};
use crate::{CheckpointError, Labels, Tokenizer};

/// What a model says of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The probability of each class, in label order; they sum to 1.
    pub scores: Vec<f32>,
}

impl Prediction {
    /// The most probable class and its probability; the first of equals.
    pub fn best(&self) -> (usize, f32) {
        let scores = self.scores.iter().copied().enumerate();
        scores.fold((0, f32::NEG_INFINITY), |best, (index, score)| {
            if score > best.1 { (index, score) } else { best }
        })
    }
}

/// A tokenizer, a model and its labels: everything between a text and a prediction.
#[derive(Clone, Debug)]
pub struct Classifier {}

impl Classifier {
    /// Opens a checkpoint directory that has a classification head.
    ///
    /// # Errors
    /// Whatever is missing, damaged or does not fit, by file and tensor.
    pub fn open(directory: &Path, device: &Device) -> std::result::Result<Self, CheckpointError> {
        todo!("{directory:?} {device:?}")
    }

    /// A classifier over a model in memory, for evaluation during training. The parameters are shared, not copied, and need
    /// not be detached by the caller.
    ///
    /// # Errors
    /// Parameters that do not fit the configuration.
    pub fn new(
        config: &ModelConfig,
        parameters: &Parameters,
        tokenizer: Tokenizer,
    ) -> Result<Self> {
        todo!("{config:?} {parameters:?} {tokenizer:?}")
    }

    /// The class names, in the order of the scores.
    pub fn labels(&self) -> &Labels {
        todo!()
    }

    /// The number of tokens a text is truncated to, `[CLS]` and `[SEP]` included.
    pub fn max_length(&self) -> usize {
        todo!()
    }

    /// The same classifier with texts truncated to `tokens`, between 2 and what the model has positions for.
    pub fn with_max_length(self, tokens: usize) -> Self {
        todo!("{tokens}")
    }

    /// Labels any number of texts of any mix of lengths, in order, on all cores.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn classify<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Prediction>> {
        todo!("{}", texts.len())
    }

    /// Labels texts that are token ids already, special tokens included.
    ///
    /// # Errors
    /// An id that the embedding has no row for, a text longer than the model has positions; failures of the device.
    pub fn classify_tokens<T: AsRef<[u32]> + Sync>(&self, texts: &[T]) -> Result<Vec<Prediction>> {
        todo!("{}", texts.len())
    }

    /// How many tokens the model sees of each text, after truncation.
    ///
    /// # Errors
    /// As [`classify`](Self::classify).
    pub fn count_tokens<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<usize>> {
        todo!("{}", texts.len())
    }

    /// A forward pass over a fixed text: finite scores that sum to 1.
    ///
    /// # Errors
    /// Anything else.
    pub fn canary(&self) -> Result<()> {
        todo!()
    }
}
