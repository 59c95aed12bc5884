//! Texts as a model takes them: their tokens end to end, without padding.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, bail};

/// The tokens of several texts, end to end, and where each text starts.
#[derive(Clone, Debug)]
pub struct TokenBatch {
    ids: Arc<[u32]>,
    /// Cumulative lengths: one more than there are texts, from 0 to the number of tokens.
    starts: Arc<[usize]>,
}

impl TokenBatch {
    /// Packs texts that are token ids already, special tokens included.
    ///
    /// # Panics
    /// If a text has no token at all; tokenized texts have at least `[CLS]` and `[SEP]`.
    pub fn new<T: AsRef<[u32]>>(texts: &[T]) -> Self {
        let mut ids = Vec::with_capacity(texts.iter().map(|text| text.as_ref().len()).sum());
        let mut starts = Vec::with_capacity(texts.len() + 1);
        starts.push(0);
        for text in texts {
            assert!(!text.as_ref().is_empty(), "a text without tokens is a bug");
            ids.extend_from_slice(text.as_ref());
            starts.push(ids.len());
        }
        Self { ids: ids.into(), starts: starts.into() }
    }

    /// Fails where a model with so many words and positions has no vector for a token.
    ///
    /// # Errors
    /// A token that the embedding has no row for, a text longer than the model has positions.
    pub fn check(&self, words: usize, positions: usize) -> Result<()> {
        if let Some(id) = self.ids.iter().find(|id| **id as usize >= words) {
            bail!("row {id} of a table with {words} rows");
        }
        let longest = self.ranges().map(|range| range.len()).max().unwrap_or(0);
        if longest > positions {
            bail!("a text of {longest} tokens is too long for a model with {positions} positions");
        }
        Ok(())
    }

    /// How many texts there are.
    pub fn texts(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many tokens all texts have together.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The token ids of all texts, end to end.
    pub fn ids(&self) -> &Arc<[u32]> {
        &self.ids
    }

    /// Cumulative lengths: text `i` is `ids()[starts()[i]..starts()[i + 1]]`.
    pub fn starts(&self) -> &Arc<[usize]> {
        &self.starts
    }

    /// The tokens of each text, as ranges of [`ids`](Self::ids).
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.starts.windows(2).map(|pair| pair[0]..pair[1])
    }
}
