//! Tokenizers written so that transformers, and we, open them to the same ids.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::{Model as _, ModelWrapper};

use super::class::Class;
use super::settings::{ADDITIONAL, EXTRA, SETTINGS_FILE};
use super::{Side, Tokenizer};
use crate::CheckpointError;

/// Paths and limits of where a tokenizer came from, which say nothing of where it is now.
const STALE: [&str; 11] = [
    "backend",
    "is_local",
    "local_files_only",
    "max_length",
    "name_or_path",
    "pad_to_multiple_of",
    "special_tokens_map_file",
    "stride",
    "tokenizer_file",
    "truncation_strategy",
    "vocab_file",
];

pub(super) fn save(tokenizer: &Tokenizer, directory: &Path) -> Result<(), CheckpointError> {
    let json = directory.join("tokenizer.json");
    let text = tokenizer.inner.to_string(true).map_err(|error| CheckpointError::damaged(&json, error))?;
    write(directory, "tokenizer.json", &text)?;
    if let Some(vocabulary) = vocabulary(tokenizer) {
        write(directory, "vocab.txt", &vocabulary)?;
    }
    let settings = serde_json::to_string_pretty(&settings(tokenizer))
        .expect("a map of JSON values has a text: anything else is a bug");
    write(directory, SETTINGS_FILE, &settings)
}

/// `tokenizer_config.json`, from which alone the tokens beside the vocabulary are read then.
fn settings(tokenizer: &Tokenizer) -> Map<String, Value> {
    let mut settings = tokenizer.fields.clone();
    STALE.iter().for_each(|stale| drop(settings.remove(*stale)));
    settings.insert("tokenizer_class".to_owned(), json!(tokenizer.class.name()));
    for (name, default) in tokenizer.class.special() {
        settings.entry(*name).or_insert_with(|| json!(default));
    }
    // A list of them is read by newer releases alone.
    if settings.get(EXTRA).is_some_and(Value::is_array)
        && let Some(extra) = settings.remove(EXTRA)
    {
        settings.insert(ADDITIONAL.to_owned(), extra);
    }
    settings.remove("truncation_side");
    if tokenizer.side == Side::Left {
        settings.insert("truncation_side".to_owned(), json!("left"));
    }
    settings.remove("added_tokens_decoder");
    let mut added: Vec<_> = tokenizer.inner.get_added_tokens_decoder().into_iter().collect();
    added.sort_unstable_by_key(|(id, _)| *id);
    let added: Map<String, Value> = added.into_iter().map(|(id, token)| (id.to_string(), json!(token))).collect();
    settings.insert("added_tokens_decoder".to_owned(), added.into());
    settings
}

/// The lines of `vocab.txt`, entry `i` on line `i`; `None` where such a file would mean something
/// else: for another model, numbers without an entry, entries that are no lines.
fn vocabulary(tokenizer: &Tokenizer) -> Option<String> {
    let ModelWrapper::WordPiece(model) = tokenizer.inner.get_model() else { return None };
    let mut entries: Vec<(u32, String)> = model.get_vocab().into_iter().map(|(token, id)| (id, token)).collect();
    entries.sort_unstable();
    let is_a_line = |(line, (id, token)): (usize, &(u32, String))| {
        line == *id as usize && token.trim_end() == token && !token.contains('\n')
    };
    if tokenizer.class != Class::Bert || !entries.iter().enumerate().all(is_a_line) {
        return None;
    }
    let lines = entries.into_iter().map(|(_, token)| token + "\n");
    Some(lines.collect())
}

fn write(directory: &Path, name: &str, text: &str) -> Result<(), CheckpointError> {
    let file = directory.join(name);
    fs::write(&file, text).map_err(|problem| CheckpointError::File { file, problem })
}
