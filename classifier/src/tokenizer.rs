//! Text to token ids, as the BERT tokenizer of transformers does it.

use std::path::Path;

use crate::CheckpointError;

/// A BERT tokenizer: `[CLS]` tokens `[SEP]`, truncated on the right.
#[derive(Clone, Debug)]
pub struct Tokenizer {}

impl Tokenizer {
    /// Opens the tokenizer of a checkpoint directory: `tokenizer.json`, else `vocab.txt`.
    ///
    /// # Errors
    /// Neither file, or one that cannot be read.
    pub fn open(directory: &Path) -> Result<Self, CheckpointError> {
        todo!("{directory:?}")
    }

    /// A tokenizer over single characters, learned from texts: the special tokens, then the most frequent characters,
    /// at most `limit` entries in all. The same texts give the same vocabulary.
    pub fn from_characters<T: AsRef<str>>(texts: &[T], limit: usize) -> Self {
        todo!("{} {limit}", texts.len())
    }

    /// The token ids of each text, `[CLS]` and `[SEP]` included, at most `max_length` of them; all cores used.
    ///
    /// # Errors
    /// A tokenizer that cannot represent a text at all (a vocabulary without its unknown token).
    pub fn encode_batch<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        max_length: usize,
    ) -> candle_core::Result<Vec<Vec<u32>>> {
        todo!("{} {max_length}", texts.len())
    }

    /// The number of entries, which the word embedding must have rows for.
    pub fn vocab_size(&self) -> usize {
        todo!()
    }

    /// Writes `tokenizer.json`, `vocab.txt` and `tokenizer_config.json`.
    ///
    /// # Errors
    /// Failure to write.
    pub fn save(&self, directory: &Path) -> Result<(), CheckpointError> {
        todo!("{directory:?}")
    }
}
