//! Texts to the token ids that a model takes, away from the model.

use std::fmt;

use bert::Tokenizer;

/// What becomes of a text with more tokens than the model reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truncation {
    /// It has no answer.
    #[default]
    Refused,
    /// Its beginning is read.
    Right,
    /// Its end is read.
    Left,
}

/// A text with more tokens than the model reads, which was not to be truncated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Its tokens, special ones included.
    pub tokens: usize,
    /// Whether there are more, which were not counted.
    pub and_more: bool,
}

/// A text is counted up to so many times what the model reads: what is longer costs no more.
const COUNTED: usize = 8;

impl TooLong {
    /// The tokens of a text beyond `most`, as far as `count` tells up to a number.
    pub(crate) fn check(most: usize, count: impl FnOnce(usize) -> usize) -> Result<(), Self> {
        let limit = most.saturating_mul(COUNTED);
        let tokens = count(limit);
        if tokens > most { Err(Self { tokens, and_more: tokens >= limit }) } else { Ok(()) }
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.tokens, if self.and_more { " or more" } else { "" })
    }
}

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
    pub fn encode<T: AsRef<str> + Sync>(&self, texts: &[T]) -> candle_core::Result<Vec<Vec<u32>>> {
        self.tokenizer.encode_batch(texts, self.max_length)
    }

    /// The same for one text, truncated as is said.
    ///
    /// # Errors
    /// As `encode`.
    pub(crate) fn encode_one(
        &self,
        text: &str,
        truncation: Truncation,
    ) -> candle_core::Result<Result<Vec<u32>, TooLong>> {
        let encode = |most| Ok::<_, candle_core::Error>(self.tokenizer.encode_batch(&[text], most)?.remove(0));
        match truncation {
            Truncation::Right => encode(self.max_length).map(Ok),
            Truncation::Left => {
                // Far more than a text has, and little enough to be counted with.
                let mut ids = encode(u32::MAX as usize)?;
                // What stands after `[CLS]`.
                ids.drain(1..1 + ids.len().saturating_sub(self.max_length));
                Ok(Ok(ids))
            }
            Truncation::Refused => {
                let ids = encode(self.max_length.saturating_mul(COUNTED))?;
                Ok(TooLong::check(self.max_length, |_| ids.len()).map(|()| ids))
            }
        }
    }
}
