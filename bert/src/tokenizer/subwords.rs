//! The tokenizers of BERT's relatives, made anew of a vocabulary as transformers' classes make them
//! (release 5.24): RoBERTa's BPE over bytes, and the unigram models that SentencePiece has learned.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::Tokenizer;
use super::class::Class;
use super::completed::{side_of, with_ends};
use super::settings::Settings;
use crate::CheckpointError;
use crate::checkpoint::read_file;

/// RoBERTa's vocabulary where there is no `tokenizer.json`, and how its pieces are put together.
const VOCABULARY_FILE: &str = "vocab.json";
pub(super) const MERGES_FILE: &str = "merges.txt";

/// Whether a directory has both.
pub(super) fn has_pairs(directory: &Path) -> bool {
    [VOCABULARY_FILE, MERGES_FILE].iter().all(|name| directory.join(name).exists())
}

/// What a `tokenizer.json` would say of them.
pub(super) fn read_pairs(directory: &Path) -> Result<Value, CheckpointError> {
    let file = directory.join(VOCABULARY_FILE);
    let vocabulary: Value =
        serde_json::from_slice(&read_file(&file)?).map_err(|error| CheckpointError::damaged(&file, error))?;
    let file = directory.join(MERGES_FILE);
    let text = fs::read_to_string(&file).map_err(|problem| CheckpointError::File { file, problem })?;
    let merges: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with("#version")).collect();
    Ok(json!({"model": {"vocab": vocabulary, "merges": merges}}))
}

/// The tokenizer of a class over the vocabulary of this `tokenizer.json`.
pub(super) fn remade(mut json: Value, settings: Settings) -> Result<Tokenizer, String> {
    let side = side_of(&json);
    let class = settings.class;
    let spaced = settings.flag("add_prefix_space")?.unwrap_or(class != Class::Roberta);
    let (model, normalizer) = (json["model"].take(), json["normalizer"].take());
    let whole = match class {
        Class::Roberta => bytes(model, spaced),
        _ => pieces(model, normalizers(class, &settings, &normalizer)?, spaced, &settings),
    };
    let inner = serde_json::from_value::<tokenizers::Tokenizer>(whole).map_err(|error| error.to_string())?;
    // What stands around a text, by the names that the class gives it.
    let names = match class {
        Class::XlmRoberta | Class::Camembert => ["bos_token", "eos_token"],
        _ => ["cls_token", "sep_token"],
    };
    let [first, last] = names.map(|name| settings.token(name).map(|token| token.content.clone()));
    let (Some(first), Some(last)) = (first, last) else {
        return Err(format!("{} or {} is null: both are put around every text", names[0], names[1]));
    };
    with_ends(inner, settings, [first, last], side)
}

fn bytes(model: Value, spaced: bool) -> Value {
    let level = json!({"type": "ByteLevel", "add_prefix_space": spaced, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": level,
        "post_processor": null,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": false,
            "byte_fallback": false,
            "vocab": model["vocab"],
            "merges": model["merges"],
        },
    })
}

fn pieces(model: Value, normalizer: Value, spaced: bool, settings: &Settings) -> Value {
    let scheme = if spaced { "always" } else { "never" };
    let space = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": true});
    let unknown = match settings.class {
        Class::XlmRoberta => 3,
        Class::Albert => 1,
        _ => {
            let content = settings.token("unk_token").map_or("<unk>", |token| &token.content);
            let entries = model["vocab"].as_array().into_iter().flatten();
            entries.into_iter().position(|entry| entry[0] == content).unwrap_or(0)
        }
    };
    json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, space]},
        "post_processor": null,
        "decoder": space,
        "model": {"type": "Unigram", "unk_id": unknown, "vocab": model["vocab"], "byte_fallback": false},
    })
}

/// What happens to a text before it is split; of the file's own normalizer SentencePiece's table
/// counts alone.
fn normalizers(class: Class, settings: &Settings, stored: &Value) -> Result<Value, String> {
    let table = match stored["normalizers"].as_array() {
        Some(all) => all.iter().find(|one| one["type"] == "Precompiled"),
        None => Some(stored).filter(|one| one["type"] == "Precompiled"),
    };
    if class != Class::Albert {
        return Ok(table.cloned().unwrap_or(Value::Null));
    }
    let quotes = |pattern: &str| json!({"type": "Replace", "pattern": {"String": pattern}, "content": "\""});
    let mut all = vec![quotes("``"), quotes("''")];
    if !settings.flag("keep_accents")?.unwrap_or(false) {
        all.extend([json!({"type": "NFKD"}), json!({"type": "StripAccents"})]);
    }
    if settings.flag("do_lower_case")?.unwrap_or(true) {
        all.push(json!({"type": "Lowercase"}));
    }
    all.extend(table.cloned());
    Ok(json!({"type": "Sequence", "normalizers": all}))
}
