//! Texts to the token ids that a model takes, away from the model.

use std::fmt;

use bert::Tokenizer;
use bert::tokenizer::Side;

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
        let encode =
            |tokenizer: &Tokenizer, most| Ok::<_, candle_core::Error>(tokenizer.encode_batch(&[text], most)?.remove(0));
        match truncation {
            Truncation::Right => encode(&self.tokenizer.cut_on(Side::Right), self.max_length).map(Ok),
            Truncation::Left => encode(&self.tokenizer.cut_on(Side::Left), self.max_length).map(Ok),
            Truncation::Refused => {
                let ids = encode(&self.tokenizer.cut_on(Side::Right), self.max_length.saturating_mul(COUNTED))?;
                Ok(TooLong::check(self.max_length, |_| ids.len()).map(|()| ids))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A tokenizer that puts nothing around a text, and cuts on this side by itself.
    fn bare(side: &str) -> Tokenizer {
        let directory = tempfile::tempdir().unwrap();
        Tokenizer::from_characters(&["甲乙丙丁"], 100).save(directory.path()).unwrap();
        let change = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
            let file = directory.path().join(name);
            let mut json = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            change(&mut json);
            fs::write(&file, json.to_string()).unwrap();
        };
        change("tokenizer.json", &|json| json["post_processor"] = serde_json::Value::Null);
        change("tokenizer_config.json", &|json| {
            json["tokenizer_class"] = "PreTrainedTokenizerFast".into();
            json["truncation_side"] = side.into();
        });
        Tokenizer::open(directory.path()).unwrap()
    }

    #[test]
    fn a_text_is_cut_on_the_side_that_is_said_whatever_the_tokenizer_does_by_itself() {
        for side in ["left", "right"] {
            let tokenizer = bare(side);
            let ids = |text: &str| text.chars().map(|one| tokenizer.id(&one.to_string()).unwrap()).collect::<Vec<_>>();
            let encoder = TextEncoder::new(tokenizer.clone(), 2);
            let cut = |truncation| encoder.encode_one("甲乙丙丁", truncation).unwrap();
            assert_eq!(cut(Truncation::Left), Ok(ids("丙丁")), "{side}");
            assert_eq!(cut(Truncation::Right), Ok(ids("甲乙")), "{side}");
            assert_eq!(cut(Truncation::Refused), Err(TooLong { tokens: 4, and_more: false }), "{side}");
        }
    }

    #[test]
    fn a_text_of_no_tokens_is_an_error() {
        let error = TextEncoder::new(bare("right"), 2).encode(&["\u{200b}"]).unwrap_err().to_string();
        assert!(error.contains("a text of no tokens"), "{error}");
    }
}
