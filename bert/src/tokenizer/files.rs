//! Tokenizers on disk, opened as transformers' `AutoTokenizer` opens them: BERT's own is made anew
//! of a vocabulary (`tokenizer.json`, else `vocab.txt`) and the settings beside it, and so are its
//! relatives' (`subwords`); another one is what its `tokenizer.json` says.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::Model as _;
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

use super::class::Class;
use super::completed::{complete, side_of, with_ends};
use super::settings::{SETTINGS_FILE, Settings};
use super::{Side, Tokenizer, subwords};
use crate::CheckpointError;
use crate::checkpoint::read_file;

pub(super) fn open(directory: &Path) -> Result<Tokenizer, CheckpointError> {
    let file = directory.join("tokenizer.json");
    let vocabulary = directory.join("vocab.txt");
    let json = if file.exists() {
        let bytes = read_file(&file)?;
        let json: Value = serde_json::from_slice(&bytes).map_err(|error| CheckpointError::damaged(&file, error))?;
        Some((bytes, json))
    } else {
        None
    };
    let settings = Settings::read(directory, json.as_ref().map(|(_, json)| json))?;
    let settings_file = directory.join(SETTINGS_FILE);
    check(&settings).map_err(|problem| CheckpointError::damaged(&settings_file, problem))?;
    let class = settings.class;
    let damaged = |file: &Path| {
        let file = file.to_owned();
        move |problem: String| CheckpointError::damaged(&file, problem)
    };
    match (json, class) {
        (Some((bytes, json)), Class::AsItStands) => {
            let inner =
                tokenizers::Tokenizer::from_bytes(&bytes).map_err(|error| CheckpointError::damaged(&file, error))?;
            complete(inner, settings, side_of(&json)).map_err(damaged(&file))
        }
        (Some((_, mut json)), Class::Bert) => {
            let side = side_of(&json);
            let tokenizer =
                word_piece(json["model"]["vocab"].take(), &settings).and_then(|model| bert(model, settings, side));
            tokenizer.map_err(damaged(&file))
        }
        (Some((_, json)), _) => subwords::remade(json, settings).map_err(damaged(&file)),
        (None, Class::AsItStands) if foreign(directory).is_none() => {
            let problem = "tokenizer_class is that of a tokenizer.json, which is not there";
            Err(CheckpointError::damaged(&settings_file, problem))
        }
        (None, Class::Roberta) if subwords::has_pairs(directory) => {
            let json = subwords::read_pairs(directory)?;
            subwords::remade(json, settings).map_err(damaged(&directory.join(subwords::MERGES_FILE)))
        }
        (None, Class::Bert) if vocabulary.exists() => {
            let model = WordPiece::read_bytes(&read_file(&vocabulary)?)
                .and_then(|entries| WordPiece::builder().vocab(entries).unk_token(unknown(&settings)).build());
            let tokenizer = model.map_err(|error| error.to_string()).and_then(|model| bert(model, settings, None));
            tokenizer.map_err(damaged(&vocabulary))
        }
        (None, _) => Err(no_vocabulary(directory, class)),
    }
}

/// A tokenizer as transformers' `BertTokenizer` is, over this vocabulary.
pub(super) fn bert(model: WordPiece, settings: Settings, side: Option<Side>) -> Result<Tokenizer, String> {
    let normalizer = BertNormalizer::new(
        true,
        settings.flag("tokenize_chinese_chars")?.unwrap_or(true),
        settings.flag("strip_accents")?,
        settings.flag("do_lower_case")?.unwrap_or(true),
    );
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_normalizer(Some(normalizer)).map_err(|error| error.to_string())?;
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_decoder(Some(WordPieceDecoder::default()));
    if tokenizer.get_model().token_to_id(&unknown(&settings)).is_none() {
        return Err(format!("the vocabulary has no {}", unknown(&settings)));
    }
    let names = ["cls_token", "sep_token"].map(|name| settings.token(name).map(|token| token.content.clone()));
    let [Some(first), Some(last)] = names else {
        return Err("cls_token or sep_token is null: both are put around every text".to_owned());
    };
    with_ends(tokenizer, settings, [first, last], side)
}

/// Settings that mean something that is not done here.
fn check(settings: &Settings) -> Result<(), String> {
    if settings.fields.contains_key("auto_map") {
        return Err("auto_map names code of its own, which is not run".to_owned());
    }
    if let Some(files) = settings.fields.get("fast_tokenizer_files")
        && files.as_array().is_none_or(|files| files.iter().any(|file| file != "tokenizer.json"))
    {
        return Err(format!("fast_tokenizer_files is {files}: only tokenizer.json is read"));
    }
    Ok(())
}

/// `tokenizer.json` may have a list in place of the numbers: the place is the number.
fn word_piece(vocabulary: Value, settings: &Settings) -> Result<WordPiece, String> {
    let damaged = || "it has no vocabulary of texts with their numbers".to_owned();
    let pairs: Option<Vec<(String, u32)>> = match vocabulary {
        Value::Object(entries) => {
            let number = |id: Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
            entries.into_iter().map(|(content, id)| Some((content, number(id)?))).collect()
        }
        Value::Array(entries) => {
            let content = |entry: &Value| entry.as_str().or_else(|| entry[0].as_str()).map(str::to_owned);
            entries.iter().zip(0..).map(|(entry, id)| Some((content(entry)?, id))).collect()
        }
        _ => None,
    };
    // An empty one of the type that the library has for them.
    let mut entries = WordPiece::read_bytes(&[]).map_err(|error| error.to_string())?;
    entries.extend(pairs.ok_or_else(damaged)?);
    let model = WordPiece::builder().vocab(entries).unk_token(unknown(settings)).build();
    model.map_err(|error| error.to_string())
}

fn unknown(settings: &Settings) -> String {
    settings.token("unk_token").map_or_else(|| "[UNK]".to_owned(), |token| token.content.clone())
}

/// The file of a tokenizer that Python alone reads.
fn foreign(directory: &Path) -> Option<PathBuf> {
    let names =
        ["tokenizer.model", "spiece.model", "spm.model", "sentencepiece.bpe.model", "tiktoken.model", "tekken.json"];
    names.into_iter().map(|name| directory.join(name)).find(|file| file.exists())
}

fn no_vocabulary(directory: &Path, class: Class) -> CheckpointError {
    if let Some(file) = foreign(directory) {
        if class == Class::Bert {
            let problem = "is the tokenizer of another kind of model: a BERT has tokenizer.json or vocab.txt";
            return CheckpointError::damaged(&file, problem);
        } else {
            let problem = "is read by Python alone; this makes a tokenizer.json of it: python -c \"import sys, \
                           transformers; transformers.AutoTokenizer.from_pretrained(sys.argv[1]).\
                           save_pretrained(sys.argv[1])\" DIRECTORY";
            return CheckpointError::damaged(&file, problem);
        }
    }
    let problem = match class {
        Class::Bert => "not found, nor is vocab.txt beside it",
        Class::Roberta => "not found, nor are vocab.json and merges.txt beside it",
        _ => "not found",
    };
    let problem = std::io::Error::new(std::io::ErrorKind::NotFound, problem);
    CheckpointError::File { file: directory.join("tokenizer.json"), problem }
}

/// Settings of a BERT vocabulary that is learned here.
pub(super) fn made(class: Class, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Settings {
    let fields: Map<String, Value> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Settings::made(class, fields)
}
