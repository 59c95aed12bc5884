//! What the files of a directory say of its tokenizer, put together as transformers'
//! `PreTrainedTokenizerBase.from_pretrained` puts it together (release 5.24).
//!
//! `tokenizer_config.json` counts. Only where it has no `added_tokens_decoder`, as those of older
//! releases have none, `special_tokens_map.json`, `added_tokens.json` and the `added_tokens` of
//! `tokenizer.json` count too.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::class::Class;
use crate::CheckpointError;
use crate::checkpoint::read_file;

pub(super) const SETTINGS_FILE: &str = "tokenizer_config.json";
const SPECIAL_FILE: &str = "special_tokens_map.json";

const ADDED_FILE: &str = "added_tokens.json";

/// Special tokens without a name of their own, and what older releases called them.
pub(super) const EXTRA: &str = "extra_special_tokens";
pub(super) const ADDITIONAL: &str = "additional_special_tokens";

/// The special tokens that every tokenizer of transformers may have.
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// All that is said of a tokenizer beside its vocabulary.
#[derive(Debug)]
pub(super) struct Settings {
    pub class: Class,
    /// `tokenizer_config.json`, with what older files add to it.
    pub fields: Map<String, Value>,
    /// The special tokens that have a name, in transformers' order.
    pub named: Vec<(String, Token)>,
    /// Special tokens without a name.
    pub extra: Vec<Token>,
    /// Tokens beside the vocabulary, by the number that the file gives them; it counts as their
    /// order alone.
    pub added: BTreeMap<u32, Token>,
}

/// A token as a file describes it; what is not said depends on what is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    pub content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    #[serde(default)]
    pub special: bool,
    /// Says what this is, and in `tokenizer.json` where it stands.
    #[serde(rename = "__type", default)]
    _type: Option<String>,
    #[serde(rename = "id", default)]
    id: Option<u32>,
}

impl Token {
    pub fn special(content: &str) -> Self {
        Self {
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: None,
            special: true,
            _type: None,
            id: None,
        }
    }

    pub fn build(self) -> AddedToken {
        AddedToken::from(self.content, self.special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!self.special))
    }
}

impl Settings {
    /// What the files of a directory say; `tokenizer_json` is the content of that file.
    pub fn read(directory: &Path, tokenizer_json: Option<&Value>) -> Result<Self, CheckpointError> {
        let fields = read_object(directory, SETTINGS_FILE)?.unwrap_or_default();
        let is_said = |class: &&Value| !class.is_null();
        let config = read_object(directory, "config.json")?.unwrap_or_default();
        let said = [&fields, &config].into_iter().find_map(|fields| fields.get("tokenizer_class").filter(is_said));
        let file = directory.join(SETTINGS_FILE);
        let class = match said {
            Some(said) => Class::of(said).map_err(|problem| CheckpointError::damaged(&file, problem))?,
            None => Class::of_model(config.get("model_type").and_then(Value::as_str)),
        };
        let mut settings = Self::of(class, fields);
        settings.rename_additional(is_empty);
        let gathered = if settings.fields.contains_key("added_tokens_decoder") {
            settings.gather_added(None).map_err(|problem| CheckpointError::damaged(&file, problem))
        } else {
            settings.gather_older(directory, tokenizer_json)
        };
        gathered?;
        settings.name_tokens().map_err(|problem| CheckpointError::damaged(&file, problem))?;
        Ok(settings)
    }

    fn of(class: Class, fields: Map<String, Value>) -> Self {
        Self { class, fields, named: Vec::new(), extra: Vec::new(), added: BTreeMap::new() }
    }

    /// Those of a tokenizer that is made here.
    pub fn made(class: Class, fields: Map<String, Value>) -> Self {
        let mut settings = Self::of(class, fields);
        settings.name_tokens().expect("what is made here has special tokens that are text: anything else is a bug");
        settings
    }

    /// Older releases called the extra tokens additional; they count where there are none.
    fn rename_additional(&mut self, is_none: impl Fn(&Value) -> bool) {
        if let Some(additional) = self.fields.get(ADDITIONAL).cloned()
            && self.fields.get(EXTRA).is_none_or(is_none)
        {
            self.fields.remove(ADDITIONAL);
            self.fields.insert(EXTRA.to_owned(), additional);
        }
    }

    /// A special token by its name, with BERT's own where nothing is said.
    pub fn token(&self, name: &str) -> Option<&Token> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, token)| token)
    }

    /// A field that is a truth value; `None` where it is not given, or null.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(format!("{name} is {other}: expected true or false")),
        }
    }

    fn gather_added(&mut self, more: Option<Map<String, Value>>) -> Result<(), String> {
        let decoder = match more {
            Some(more) => more,
            None => match &self.fields["added_tokens_decoder"] {
                Value::Object(decoder) => decoder.clone(),
                other => return Err(format!("added_tokens_decoder is {other}: expected tokens by their number")),
            },
        };
        for (id, token) in decoder {
            let number = id.trim().parse().map_err(|_| format!("added_tokens_decoder: {id:?} is no number"))?;
            self.added.insert(number, described(&token)?);
        }
        Ok(())
    }

    fn gather_older(&mut self, directory: &Path, tokenizer_json: Option<&Value>) -> Result<(), CheckpointError> {
        if let Some(special) = read_object(directory, SPECIAL_FILE)? {
            let merged = self.merge_special(special);
            merged.map_err(|problem| CheckpointError::damaged(&directory.join(SPECIAL_FILE), problem))?;
        }
        if let Some(added) = read_object(directory, ADDED_FILE)? {
            let gathered = self.gather_by_name(added);
            gathered.map_err(|problem| CheckpointError::damaged(&directory.join(ADDED_FILE), problem))?;
        }
        if let Some(json) = tokenizer_json {
            let file = directory.join("tokenizer.json");
            let damaged = |problem: String| CheckpointError::damaged(&file, problem);
            let Some(Value::Array(tokens)) = json.get("added_tokens") else {
                return Err(damaged("has no added_tokens".to_owned()));
            };
            for token in tokens {
                let token = described(token).map_err(damaged)?;
                let id = token.id.ok_or_else(|| damaged(format!("the added token {:?} has no id", token.content)))?;
                self.added.insert(id, token);
            }
        }
        Ok(())
    }

    /// `special_tokens_map.json` counts more than `tokenizer_config.json`.
    fn merge_special(&mut self, special: Map<String, Value>) -> Result<(), String> {
        for (name, mut value) in special {
            match &mut value {
                Value::Object(token) if name != EXTRA => {
                    token.insert("special".to_owned(), true.into());
                    token.insert("__type".to_owned(), "AddedToken".into());
                }
                Value::Array(tokens) if name == EXTRA => {
                    for token in tokens.iter_mut().filter_map(Value::as_object_mut) {
                        token.insert("special".to_owned(), true.into());
                        token.insert("__type".to_owned(), "AddedToken".into());
                    }
                    let known = self.fields.get(&name).and_then(Value::as_array).cloned().unwrap_or_default();
                    tokens.retain(|token| !known.contains(token));
                    tokens.splice(0..0, known);
                }
                _ => {}
            }
            self.fields.insert(name, value);
        }
        Ok(())
    }

    fn gather_by_name(&mut self, added: Map<String, Value>) -> Result<(), String> {
        let special: Vec<String> = NAMED
            .iter()
            .filter_map(|name| self.fields.get(*name))
            .chain(self.fields.get(EXTRA).and_then(Value::as_array).into_iter().flatten())
            .filter_map(|token| content(token).map(str::to_owned))
            .collect();
        for (token, id) in added {
            let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let number = number.ok_or_else(|| format!("{token:?} has the number {id}"))?;
            let is_special = special.contains(&token);
            let token = Token { special: is_special, normalized: Some(!is_special), ..Token::special(&token) };
            self.added.insert(number, token);
        }
        Ok(())
    }

    /// Finds the special tokens among the fields.
    fn name_tokens(&mut self) -> Result<(), String> {
        for name in NAMED {
            let default =
                self.class.special().iter().find(|(known, _)| *known == name).map(|(_, token)| Token::special(token));
            let token = match self.fields.get(name) {
                None => default,
                Some(Value::Null) => None,
                Some(value) => Some(named(name, value)?),
            };
            if let Some(token) = token {
                self.name(name, token);
            }
        }
        let mut own: Vec<(String, Value)> = Vec::new();
        for (name, value) in &self.fields {
            let is_token = value.is_string() || value.get("__type").is_some();
            if name.ends_with("_token") && !NAMED.contains(&name.as_str()) && is_token {
                own.push((name.clone(), value.clone()));
            }
        }
        // transformers takes those that are described before those that are text.
        own.sort_by_key(|(_, value)| value.is_string());
        if let Some(Value::Object(tokens)) = self.fields.get(EXTRA) {
            own.extend(tokens.iter().map(|(name, token)| (name.clone(), token.clone())));
        }
        self.rename_additional(|extra| extra.is_object());
        match self.fields.get(EXTRA) {
            None if self.class == Class::Camembert => {
                self.extra = ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"].map(Token::special).into();
            }
            None | Some(Value::Null | Value::Object(_)) => {}
            Some(Value::Array(tokens)) => {
                self.extra = tokens.iter().map(|token| named(EXTRA, token)).collect::<Result<_, _>>()?;
            }
            Some(other) => return Err(format!("{EXTRA} is {other}: expected a list of tokens")),
        }
        for (name, value) in own {
            let token = named(&name, &value)?;
            self.name(&name, token);
        }
        Ok(())
    }

    /// One that is among the added tokens is as it is described there.
    fn name(&mut self, name: &str, token: Token) {
        let added = self.added.values().find(|added| NAMED.contains(&name) && added.content == token.content);
        let token = added.cloned().unwrap_or(token);
        self.named.push((name.to_owned(), token));
    }
}

/// A token of a named field: text, or an object that says of itself that it is a token.
fn named(name: &str, value: &Value) -> Result<Token, String> {
    match value {
        Value::String(content) => Ok(Token::special(content)),
        Value::Object(fields) if fields.contains_key("__type") => described(value),
        _ => Err(format!("{name} is {value}: expected a text, or an object with \"__type\": \"AddedToken\"")),
    }
}

fn described(value: &Value) -> Result<Token, String> {
    Token::deserialize(value).map_err(|error| format!("the token {value} cannot be read: {error}"))
}

fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// As Python takes it.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        _ => false,
    }
}

fn read_object(directory: &Path, name: &str) -> Result<Option<Map<String, Value>>, CheckpointError> {
    let file = directory.join(name);
    if !file.exists() {
        return Ok(None);
    }
    let object = serde_json::from_slice(&read_file(&file)?);
    object.map(Some).map_err(|error| CheckpointError::damaged(&file, error))
}
