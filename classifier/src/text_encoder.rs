//! Texts to the token ids that a model takes, away from the model.

use bert::Tokenizer;
use candle_core::Result;

/// Makes the token ids that [`Classifier::classify_tokens`](crate::Classifier::classify_tokens)
/// takes, on any thread, while the model is busy.
#[derive(Clone, Debug)]
pub struct TextEncoder {
    tokenizer: Tokenizer,
    max_length: usize,
}

impl TextEncoder {
    pub(crate) fn new(tokenizer: Tokenizer, max_length: usize) -> Self {
        Self { tokenizer, max_length }
    }

    /// The token ids of each text, special tokens included, truncated as the classifier does; all
    /// cores are used.
    ///
    /// # Errors
    /// A tokenizer that cannot represent a text at all.
    pub fn encode<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Vec<u32>>> {
        self.tokenizer.encode_batch(texts, self.max_length)
    }
}
