//! Tokenizers on disk: `tokenizer.json` as the tokenizers library has it, or `vocab.txt` as
//! Google's BERT had it, with the settings of `tokenizer_config.json`.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, ModelWrapper};

use super::Tokenizer;
use crate::CheckpointError;

/// The special tokens, in the order in which a learned vocabulary begins: padding is id 0.
pub(super) const SPECIAL: [(&str, &str); 5] = [
    ("pad_token", "[PAD]"),
    ("unk_token", "[UNK]"),
    ("cls_token", "[CLS]"),
    ("sep_token", "[SEP]"),
    ("mask_token", "[MASK]"),
];

const SETTINGS_FILE: &str = "tokenizer_config.json";

pub(super) fn open(directory: &Path) -> Result<Tokenizer, CheckpointError> {
    let settings = read_settings(directory)?;
    let json = directory.join("tokenizer.json");
    let vocabulary = directory.join("vocab.txt");
    if json.exists() {
        let tokenizer =
            tokenizers::Tokenizer::from_file(&json).map_err(|error| CheckpointError::damaged(&json, error))?;
        complete(tokenizer, settings).map_err(|problem| CheckpointError::damaged(&json, problem))
    } else if vocabulary.exists() {
        let bytes = fs::read(&vocabulary).map_err(|source| CheckpointError::file(&vocabulary, source))?;
        let unknown = special(&settings, "unk_token", "[UNK]");
        let model = WordPiece::read_bytes(&bytes)
            .and_then(|entries| WordPiece::builder().vocab(entries).unk_token(unknown).build());
        let model = model.map_err(|error| CheckpointError::damaged(&vocabulary, error))?;
        bert(model, settings).map_err(|problem| CheckpointError::damaged(&vocabulary, problem))
    } else {
        let problem = io::Error::new(io::ErrorKind::NotFound, "not found, nor is vocab.txt beside it");
        Err(CheckpointError::File { file: json, problem })
    }
}

/// A tokenizer as transformers' `BertTokenizer` is, over this vocabulary.
pub(super) fn bert(model: WordPiece, settings: Map<String, Value>) -> Result<Tokenizer, String> {
    let setting = |name: &str| settings.get(name).and_then(Value::as_bool);
    let normalizer = BertNormalizer::new(
        true,
        setting("tokenize_chinese_chars").unwrap_or(true),
        setting("strip_accents"),
        setting("do_lower_case").unwrap_or(true),
    );
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_normalizer(Some(normalizer)).map_err(|error| error.to_string())?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_decoder(Some(WordPieceDecoder::default()));
    with_ends(tokenizer, settings)
}

/// Declares the special tokens, and puts `[CLS]` and `[SEP]` around every text.
pub(super) fn with_ends(
    mut tokenizer: tokenizers::Tokenizer,
    settings: Map<String, Value>,
) -> Result<Tokenizer, String> {
    let tokens = SPECIAL.map(|(name, default)| special(&settings, name, default));
    let known = tokens.into_iter().filter(|token| tokenizer.token_to_id(token).is_some());
    let known: Vec<AddedToken> = known.map(|token| AddedToken::from(token, true)).collect();
    tokenizer.add_special_tokens(known).map_err(|error| error.to_string())?;
    let mut tokenizer = complete(tokenizer, settings)?;
    // For other programs that open the saved file: here the ends are added by hand.
    let end = |index: usize| {
        let id = tokenizer.ends[index];
        (tokenizer.inner.id_to_token(id).unwrap_or_default(), id)
    };
    let processing = BertProcessing::new(end(1), end(0));
    Arc::make_mut(&mut tokenizer.inner).with_post_processor(Some(processing));
    Ok(tokenizer)
}

/// Overrules the file's own padding and truncation, and looks the special tokens up.
fn complete(mut tokenizer: tokenizers::Tokenizer, settings: Map<String, Value>) -> Result<Tokenizer, String> {
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
    let id = |name: &str, default: &str| {
        let token = special(&settings, name, default);
        tokenizer.token_to_id(&token).ok_or_else(|| format!("the vocabulary has no {token}"))
    };
    let ends = [id("cls_token", "[CLS]")?, id("sep_token", "[SEP]")?];
    Ok(Tokenizer { inner: Arc::new(tokenizer), ends, settings })
}

pub(super) fn save(tokenizer: &Tokenizer, directory: &Path) -> Result<(), CheckpointError> {
    let json = directory.join("tokenizer.json");
    let text = tokenizer.inner.to_string(true).map_err(|error| CheckpointError::damaged(&json, error))?;
    write(directory, "tokenizer.json", &text)?;
    if let ModelWrapper::WordPiece(_) = tokenizer.inner.get_model() {
        write(directory, "vocab.txt", &vocabulary(tokenizer))?;
    }
    let mut settings = tokenizer.settings.clone();
    // Paths and limits of where it came from say nothing of where it is now.
    for stale in [
        "name_or_path",
        "special_tokens_map_file",
        "tokenizer_file",
        "vocab_file",
        "max_length",
        "pad_to_multiple_of",
        "padding_side",
        "truncation_side",
        "truncation_strategy",
        "stride",
    ] {
        settings.remove(stale);
    }
    settings.entry("tokenizer_class").or_insert_with(|| json!("BertTokenizer"));
    for (name, default) in SPECIAL {
        settings.entry(name).or_insert_with(|| json!(default));
    }
    let settings =
        serde_json::to_string_pretty(&settings).expect("a map of JSON values has a text: anything else is a bug");
    write(directory, SETTINGS_FILE, &settings)
}

/// The lines of `vocab.txt`: entry `i` on line `i`.
fn vocabulary(tokenizer: &Tokenizer) -> String {
    let mut entries: Vec<(u32, String)> =
        tokenizer.inner.get_vocab(false).into_iter().map(|(token, id)| (id, token)).collect();
    entries.sort_unstable();
    let mut text = String::new();
    for (id, token) in entries {
        // Numbers that no token has keep their line, so that the lines after them keep theirs.
        let lines = text.bytes().filter(|byte| *byte == b'\n').count();
        (lines..id as usize).for_each(|unused| text.push_str(&format!("[unused-{unused}]\n")));
        text.push_str(&token);
        text.push('\n');
    }
    text
}

fn read_settings(directory: &Path) -> Result<Map<String, Value>, CheckpointError> {
    let file = directory.join(SETTINGS_FILE);
    match fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| CheckpointError::damaged(&file, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
        Err(problem) => Err(CheckpointError::File { file, problem }),
    }
}

/// A special token by its name in `tokenizer_config.json`, where it may be a string or an object
/// with its `content`.
fn special(settings: &Map<String, Value>, name: &str, default: &str) -> String {
    let value = settings.get(name);
    let content = value.and_then(|value| value.as_str().or_else(|| value.get("content")?.as_str()));
    content.unwrap_or(default).to_owned()
}

fn write(directory: &Path, name: &str, text: &str) -> Result<(), CheckpointError> {
    let file = directory.join(name);
    fs::write(&file, text).map_err(|problem| CheckpointError::File { file, problem })
}
