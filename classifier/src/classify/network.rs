//! A BERT and its tokenizer, on its device.

use candle_core::Result;

use crate::model::{BertClassifier, ModelConfig, Parameters, TokenBatch};
use crate::{Prediction, Tokenizer, parallel};

/// Tokens that one forward pass takes at once on the CPU: their activations fit a core's cache.
const CPU_TOKENS: usize = 1_024;

/// Tokens that one forward pass takes at once on a GPU: enough work for each kernel to hide its launch.
const GPU_TOKENS: usize = 16_384;

#[derive(Clone, Debug)]
pub(super) struct Network {
    tokenizer: Tokenizer,
    model: BertClassifier,
    positions: usize,
}

impl Network {
    pub fn new(config: &ModelConfig, parameters: &Parameters, tokenizer: Tokenizer) -> Result<Self> {
        let model = BertClassifier::new(config, &parameters.detached())?;
        Ok(Self { tokenizer, model, positions: config.max_position_embeddings })
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Tokens of the longest text that the model can take.
    pub fn positions(&self) -> usize {
        self.positions
    }

    pub fn encode<T: AsRef<str> + Sync>(&self, texts: &[T], max_length: usize) -> Result<Vec<Vec<u32>>> {
        self.tokenizer.encode_batch(texts, max_length)
    }

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
