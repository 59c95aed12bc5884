use std::path::Path;

use candle_core::{Device, Result, bail};

use crate::checkpoint::Checkpoint;
use crate::model::{BertClassifier, ModelConfig, Parameters, TokenBatch};
use crate::{CheckpointError, Labels, Tokenizer, parallel};

/// Tokens that one forward pass takes at once on the CPU: their activations fit a core's cache.
const CPU_TOKENS: usize = 1_024;

/// Tokens that one forward pass takes at once on a GPU: enough work for each kernel to hide its launch.
const GPU_TOKENS: usize = 16_384;

/// Longest text by default, and of nearly every BERT.
const MAX_LENGTH: usize = 512;

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
        scores.fold((0, f32::NEG_INFINITY), |best, (index, score)| if score > best.1 { (index, score) } else { best })
    }

    fn from_logits(logits: &[f32]) -> Self {
        let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = logits.iter().map(|logit| (logit - greatest).exp()).collect();
        let sum: f32 = powers.iter().sum();
        Self { scores: powers.iter().map(|power| power / sum).collect() }
    }
}

/// A tokenizer, a model and its labels: everything between a text and a prediction.
#[derive(Clone, Debug)]
pub struct Classifier {
    tokenizer: Tokenizer,
    model: BertClassifier,
    labels: Labels,
    positions: usize,
    max_length: usize,
}

impl Classifier {
    /// Opens a checkpoint directory that has a classification head.
    ///
    /// # Errors
    /// Whatever is missing, damaged or does not fit, by file and tensor.
    pub fn open(directory: &Path, device: &Device) -> std::result::Result<Self, CheckpointError> {
        let Checkpoint { config, parameters, tokenizer } = Checkpoint::open(directory)?;
        let on_device = parameters.to_device(device).and_then(|parameters| Self::new(&config, &parameters, tokenizer));
        on_device.map_err(|error| CheckpointError::damaged(directory, error))
    }

    /// A classifier over a model in memory, for evaluation during training. The parameters are shared, not copied, and need
    /// not be detached by the caller.
    ///
    /// # Errors
    /// Parameters that do not fit the configuration.
    pub fn new(config: &ModelConfig, parameters: &Parameters, tokenizer: Tokenizer) -> Result<Self> {
        Ok(Self {
            tokenizer,
            model: BertClassifier::new(config, &parameters.detached())?,
            labels: config.labels.clone(),
            positions: config.max_position_embeddings,
            max_length: config.max_position_embeddings.min(MAX_LENGTH),
        })
    }

    /// The class names, in the order of the scores.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The number of tokens a text is truncated to, `[CLS]` and `[SEP]` included.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// The same classifier with texts truncated to `tokens`, between 2 and what the model has positions for.
    pub fn with_max_length(self, tokens: usize) -> Self {
        Self { max_length: tokens.clamp(2, self.positions), ..self }
    }

    /// Labels any number of texts of any mix of lengths, in order, on all cores.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn classify<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Prediction>> {
        self.classify_tokens(&self.tokenizer.encode_batch(texts, self.max_length)?)
    }

    /// Labels texts that are token ids already, special tokens included.
    ///
    /// # Errors
    /// An id that the embedding has no row for, a text longer than the model has positions; failures of the device.
    pub fn classify_tokens<T: AsRef<[u32]> + Sync>(&self, texts: &[T]) -> Result<Vec<Prediction>> {
        let length = |text: usize| texts[text].as_ref().len();
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|text| std::cmp::Reverse(length(*text)));
        let shards = shards(&order, length, self.budget(order.iter().copied().map(length).sum()));
        let classify_shard = |shard: &&[usize]| {
            let batch = TokenBatch::new(&shard.iter().map(|text| texts[*text].as_ref()).collect::<Vec<_>>());
            self.model.forward(&batch, None)?.to_vec2::<f32>()
        };
        let logits = if self.model.device().is_cpu() {
            parallel::map(&shards, classify_shard)?
        } else {
            // One thread owns the device.
            shards.iter().map(classify_shard).collect::<Result<_>>()?
        };
        let mut predictions = vec![Prediction { scores: Vec::new() }; texts.len()];
        for (text, logits) in order.iter().zip(logits.iter().flatten()) {
            predictions[*text] = Prediction::from_logits(logits);
        }
        Ok(predictions)
    }

    /// How many tokens the model sees of each text, after truncation.
    ///
    /// # Errors
    /// As [`classify`](Self::classify).
    pub fn count_tokens<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<usize>> {
        Ok(self.tokenizer.encode_batch(texts, self.max_length)?.iter().map(Vec::len).collect())
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

    /// Tokens a shard: as many as suit the device, fewer where some cores would otherwise have none.
    fn budget(&self, tokens: usize) -> usize {
        if self.model.device().is_cpu() { CPU_TOKENS.min(tokens.div_ceil(parallel::cores())) } else { GPU_TOKENS }
    }
}

/// Cuts texts, longest first, into runs of about `budget` tokens; a text longer than that is a run of its own.
fn shards(order: &[usize], length: impl Fn(usize) -> usize, budget: usize) -> Vec<&[usize]> {
    let mut shards = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (end, text) in order.iter().enumerate() {
        if end > start && tokens + length(*text) > budget {
            shards.push(&order[start..end]);
            (start, tokens) = (end, 0);
        }
        tokens += length(*text);
    }
    if start < order.len() {
        shards.push(&order[start..]);
    }
    shards
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_best_class_is_the_first_of_the_most_probable() {
        assert_eq!(Prediction { scores: vec![0.2, 0.4, 0.4] }.best(), (1, 0.4));
    }

    #[test]
    fn scores_sum_to_one_whatever_the_logits() {
        for logits in [vec![0.0, 0.0], vec![1e4, -1e4], vec![-300.0, -301.0, -299.0]] {
            let sum: f32 = Prediction::from_logits(&logits).scores.iter().sum();
            assert!((sum - 1.0).abs() < 1e-6, "{logits:?}: {sum}");
        }
    }

    proptest! {
        #[test]
        fn shards_hold_every_text_once_in_order_and_keep_the_budget(lengths in prop::collection::vec(1_usize..600, 0..80), budget in 1_usize..2_000) {
            let order: Vec<usize> = (0..lengths.len()).collect();
            let shards = shards(&order, |text| lengths[text], budget);
            prop_assert_eq!(shards.concat(), order.clone());
            for shard in shards {
                let tokens: usize = shard.iter().map(|text| lengths[*text]).sum();
                prop_assert!(shard.len() == 1 || tokens <= budget);
            }
        }
    }
}
