//! The last steps to a tokenizer, whatever it was made of: the tokens of the settings, what stands
//! around a text, where one that is too long is cut.

use std::sync::Arc;

use serde_json::Value;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;

use super::class::Class;
use super::ends::{Ends, ends};
use super::settings::{Settings, Token};
use super::{Side, Tokenizer};

/// Lengths from here on mean that there is no limit: transformers writes 10^30.
const NO_LIMIT: f64 = 1e20;

/// Puts `[CLS]` and `[SEP]`, or what is called so, around every text.
pub(super) fn with_ends(
    tokenizer: tokenizers::Tokenizer,
    settings: Settings,
    ends: [String; 2],
    side: Option<Side>,
) -> Result<Tokenizer, String> {
    let mut tokenizer = with_tokens(tokenizer, &settings)?;
    let [first, last] = ends.map(|token| {
        let id = tokenizer.token_to_id(&token);
        id.map(|id| (token.clone(), id)).ok_or_else(|| format!("the vocabulary has no {token}"))
    });
    let (first, last) = (first?, last?);
    match settings.class {
        Class::Roberta | Class::XlmRoberta | Class::Camembert => {
            tokenizer.with_post_processor(Some(RobertaProcessing::new(last, first)));
        }
        _ => {
            tokenizer.with_post_processor(Some(BertProcessing::new(last, first)));
        }
    }
    finish(tokenizer, settings, side)
}

/// A tokenizer of a `tokenizer.json`, with the tokens that the settings add.
pub(super) fn complete(
    tokenizer: tokenizers::Tokenizer,
    settings: Settings,
    side: Option<Side>,
) -> Result<Tokenizer, String> {
    finish(with_tokens(tokenizer, &settings)?, settings, side)
}

/// Adds the tokens of the settings, in transformers' order: one that the vocabulary has keeps its
/// number, others are numbered from its end.
fn with_tokens(mut tokenizer: tokenizers::Tokenizer, settings: &Settings) -> Result<tokenizers::Tokenizer, String> {
    let is_named = |token: &Token| settings.named.iter().any(|(_, named)| named.content == token.content);
    let mut tokens: Vec<Token> = settings.added.values().cloned().collect();
    for token in settings.named.iter().map(|(_, token)| token).chain(&settings.extra) {
        let known = tokenizer.get_added_tokens_decoder().values().any(|known| known.content == token.content);
        if !known && !tokens.iter().any(|added| added.content == token.content) {
            tokens.push(token.clone());
        }
    }
    for token in &mut tokens {
        token.special |= is_named(token);
    }
    let tokens: Vec<_> = tokens.into_iter().map(Token::build).collect();
    tokenizer.add_tokens(tokens).map_err(|error| error.to_string())?;
    Ok(tokenizer)
}

/// Overrules the file's own padding and truncation.
fn finish(mut tokenizer: tokenizers::Tokenizer, settings: Settings, side: Option<Side>) -> Result<Tokenizer, String> {
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
    tokenizer.set_encode_special_tokens(settings.flag("split_special_tokens")?.unwrap_or(false));
    let ends: Ends = ends(&tokenizer)?;
    let max_length = max_length(&settings)?;
    let special = ends.iter().map(Vec::len).sum::<usize>();
    if max_length.is_some_and(|length| length < special) {
        return Err(format!("model_max_length leaves no room for the {special} tokens around every text"));
    }
    let side = match settings.fields.get("truncation_side") {
        None => side.unwrap_or(Side::Right),
        Some(Value::String(side)) if side == "right" => Side::Right,
        Some(Value::String(side)) if side == "left" => Side::Left,
        Some(other) => return Err(format!("truncation_side is {other}: expected \"right\" or \"left\"")),
    };
    Ok(Tokenizer { inner: Arc::new(tokenizer), ends, side, max_length, class: settings.class, fields: settings.fields })
}

/// The side that the truncation of a `tokenizer.json` cuts.
pub(super) fn side_of(json: &Value) -> Option<Side> {
    match json["truncation"]["direction"].as_str()? {
        "Left" => Some(Side::Left),
        _ => Some(Side::Right),
    }
}

fn max_length(settings: &Settings) -> Result<Option<usize>, String> {
    let given = |name: &str| settings.fields.get(name).filter(|length| !length.is_null());
    let Some(length) = given("model_max_length").or_else(|| given("max_len")) else { return Ok(None) };
    match length.as_f64() {
        Some(number) if number >= NO_LIMIT => Ok(None),
        Some(number) if number >= 1.0 && number.fract() == 0.0 => Ok(Some(number as usize)),
        _ => Err(format!("model_max_length is {length}: expected a number of tokens")),
    }
}
