//! Text to token ids, as the tokenizers of transformers' BERT and of its relatives do it.

mod characters;
mod class;
mod completed;
mod ends;
mod files;
mod pieces;
mod prefixes;
mod save;
mod settings;
mod subwords;

use std::path::Path;
use std::sync::Arc;

use candle_core::{Error, Result};
use serde_json::{Map, Value};

use crate::{CheckpointError, parallel};
use class::Class;
use ends::Ends;

/// The files of a directory that say what its tokenizer is; not all of them are there.
pub const FILES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// Texts a thread takes at once: long enough not to fight over the counter, short enough to share a
/// small batch.
const TEXTS_AT_ONCE: usize = 64;

/// A tokenizer as transformers would open it; of BERT, `[CLS]` tokens `[SEP]`.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    /// Without padding and truncation of its own, whatever its file says.
    inner: Arc<tokenizers::Tokenizer>,
    /// What stands before every text, and after it.
    ends: Ends,
    /// Where a text that is too long is cut.
    side: Side,
    /// The longest text that the tokenizer wants to be asked for, if it says so.
    max_length: Option<usize>,
    /// What transformers makes of it.
    class: Class,
    /// What `tokenizer_config.json` says, and older files in its place.
    fields: Map<String, Value>,
}

/// An end of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its beginning.
    Left,
    /// Its end.
    Right,
}

impl Tokenizer {
    /// Opens the tokenizer of a checkpoint directory: `tokenizer.json`, else `vocab.txt`, with the
    /// settings beside it.
    ///
    /// # Errors
    /// Neither file, or one that cannot be read; settings that mean something else than what is
    /// done here; a vocabulary without its special tokens.
    pub fn open(directory: &Path) -> std::result::Result<Self, CheckpointError> {
        files::open(directory)
    }

    /// A tokenizer over single characters, learned from texts: the special tokens, then the most
    /// frequent characters, at most `limit` entries in all. The same texts give the same
    /// vocabulary.
    pub fn from_characters<T: AsRef<str>>(texts: &[T], limit: usize) -> Self {
        characters::learn(texts, limit)
    }

    /// A tokenizer over pieces of one or more characters, learned from texts: the special tokens,
    /// then the pieces of a unigram model, about `limit` entries in all. Single characters, where
    /// there are too many different ones for that. The same texts give the same vocabulary.
    pub fn from_pieces<T: AsRef<str> + Sync>(texts: &[T], limit: usize) -> Self {
        pieces::learn(texts, limit).unwrap_or_else(|| characters::learn(texts, limit))
    }

    /// The token ids of each text, `[CLS]` and `[SEP]` included, at most `max_length` (at least
    /// these two) of them: a longer text is cut on the tokenizer's own [`Side`]; all cores used.
    ///
    /// # Errors
    /// A text of which it makes no token at all: it lacks the unknown token, or `[CLS]` and `[SEP]`.
    pub fn encode_batch<T: AsRef<str> + Sync>(&self, texts: &[T], max_length: usize) -> Result<Vec<Vec<u32>>> {
        let chunks: Vec<&[T]> = texts.chunks(TEXTS_AT_ONCE).collect();
        let encode_chunk =
            |chunk: &&[T]| chunk.iter().map(|text| self.encode(text.as_ref(), max_length)).collect::<Result<Vec<_>>>();
        Ok(parallel::map(&chunks, encode_chunk)?.into_iter().flatten().collect())
    }

    /// The same, but that a text that is too long is cut on this side.
    #[must_use]
    pub fn cut_on(&self, side: Side) -> Self {
        Self { side, ..self.clone() }
    }

    /// The number of rows that a word embedding needs for this vocabulary.
    pub fn vocab_size(&self) -> usize {
        let greatest = self.inner.get_vocab(true).into_values().max();
        greatest.map_or(0, |id| id as usize + 1)
    }

    /// The longest text, `[CLS]` and `[SEP]` included, that the tokenizer wants to be asked for;
    /// `None`: it sets no limit.
    pub fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// The id of the token that stands for what the vocabulary does not have.
    pub fn unknown(&self) -> Option<u32> {
        let named = self.fields.get("unk_token").and_then(|token| token.as_str().or_else(|| token["content"].as_str()));
        let usual = || self.class.special().iter().find(|(name, _)| *name == "unk_token").map(|(_, token)| *token);
        self.id(named.or_else(usual)?)
    }

    /// The id of one entry, such as `[UNK]`.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Writes `tokenizer.json`, `vocab.txt` and `tokenizer_config.json`, which transformers'
    /// `AutoTokenizer` opens.
    ///
    /// # Errors
    /// Failure to write.
    pub fn save(&self, directory: &Path) -> std::result::Result<(), CheckpointError> {
        save::save(self, directory)
    }

    fn encode(&self, text: &str, max_length: usize) -> Result<Vec<u32>> {
        let ids = self.ids(text, max_length)?;
        // Of BERT's own there are two at least.
        if ids.is_empty() {
            return Err(Error::Msg("tokenizer: a text of no tokens, and it puts none around a text".to_owned()));
        }
        Ok(ids)
    }

    fn ids(&self, text: &str, max_length: usize) -> Result<Vec<u32>> {
        let [before, after] = &self.ends;
        let wanted = max_length.saturating_sub(before.len() + after.len());
        let tokens =
            |text: &str| self.inner.encode_fast(text, false).map_err(|error| Error::Msg(format!("tokenizer: {error}")));
        let around = |kept: &[u32]| [before.as_slice(), kept, after].concat();
        if self.side == Side::Left {
            let encoding = tokens(text)?;
            let ids = encoding.get_ids();
            return Ok(around(&ids[ids.len().saturating_sub(wanted)..]));
        }
        let mut ids = Vec::new();
        for prefix in prefixes::prefixes(&self.inner, text, wanted) {
            let encoding = tokens(prefix)?;
            let kept = encoding.len().min(wanted);
            ids = around(&encoding.get_ids()[..kept]);
            if kept == wanted {
                break;
            }
        }
        Ok(ids)
    }
}
