//! Bytes to a review: total (every record has an end) and pure.
//!
//! A value is UTF-8 JSON, an object whose fields are read under configurable names. The text is
//! required; the id is a string or an integer and falls back to the record's key, then to
//! topic/partition/offset; the time is RFC 3339 or a number since 1970, of seconds, milliseconds or
//! microseconds as its size says. Every other field is kept, unread, in `attributes`, and so is a
//! time that cannot be understood: a review is not lost for its date. Where a field stands twice,
//! the last one counts.

mod jsonb;
mod time;

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::config::Config;
use jsonb::inspect;
use time::time;
pub(crate) use time::time_of_milliseconds;

/// A Kafka message before decoding, owned: what a dead letter keeps, byte for byte.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    pub offset: i64,
    pub time: Option<DateTime<Utc>>,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// Bytes held, as far as they matter for a bound on memory.
    pub fn bytes(&self) -> usize {
        let of = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + of(value));
        of(&self.key) + of(&self.payload) + headers.sum::<usize>()
    }

    /// This record as a row of `dead_letters`.
    pub fn into_dead_letter(self, reason: Reason, detail: &str) -> store::DeadLetterRow {
        store::DeadLetterRow {
            kafka_offset: self.offset,
            record_time: self.time,
            reason: reason.code(),
            // Postgres text holds no NUL, and a detail is for reading.
            detail: detail.replace('\0', "\\0").chars().take(MAX_DETAIL_CHARACTERS).collect(),
            key: self.key,
            payload: self.payload,
            headers: self.headers,
        }
    }
}

/// A text to label. Its text is not empty and Postgres can hold all of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Review {
    pub review_id: String,
    pub text: String,
    pub created_at: Option<DateTime<Utc>>,
    pub attributes: Option<String>,
}

/// What a record turns out to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decoded {
    Review(Review),
    DeadLetter {
        reason: Reason,
        detail: String,
    },
    /// A record without a value, which in Kafka marks a deletion: skipped and counted.
    Tombstone,
}

/// Why a record is a dead letter. The codes are stable: people group, filter and alert by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The value has no bytes.
    EmptyValue,
    /// The value has more bytes than `--max-record-bytes`.
    TooLarge,
    /// The value is not UTF-8.
    NotUtf8,
    /// The value is not JSON.
    NotJson,
    /// The value is JSON, but not an object.
    NotAnObject,
    /// Arrays and objects are nested deeper than 128.
    TooDeep,
    /// There is no text, or it is null.
    TextMissing,
    /// The text is not a string.
    TextNotAString,
    /// The text is empty or white space.
    TextEmpty,
    /// A NUL character, which Postgres cannot hold.
    NulCharacter,
    /// Half of a surrogate pair, which is no character.
    LoneSurrogate,
    /// The id is neither a string nor an integer.
    IdInvalid,
    /// The id has more than 512 bytes.
    IdTooLong,
    /// The model fails on this text alone, and on no other.
    ModelFailed,
    /// Consumers died of it, three times while it was tried on its own.
    ProcessDied,
    /// Postgres cannot hold the row for a reason that is not foreseen here.
    Unstorable,
}

impl Reason {
    /// The code in `dead_letters.reason` and in the metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::EmptyValue => "empty_value",
            Self::TooLarge => "too_large",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::TooDeep => "too_deep",
            Self::TextMissing => "text_missing",
            Self::TextNotAString => "text_not_a_string",
            Self::TextEmpty => "text_empty",
            Self::NulCharacter => "nul_character",
            Self::LoneSurrogate => "lone_surrogate",
            Self::IdInvalid => "id_invalid",
            Self::IdTooLong => "id_too_long",
            Self::ModelFailed => "model_failed",
            Self::ProcessDied => "process_died",
            Self::Unstorable => "unstorable",
        }
    }
}

/// The JSON field names, and the largest value that is read at all.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    pub text_field: String,
    pub id_field: String,
    pub time_field: String,
    pub max_record_bytes: usize,
}

/// An index entry of Postgres holds 2,704 bytes; ids are indexed.
const MAX_ID_BYTES: usize = 512;
/// A sentence, not a copy of the payload, which stands beside it.
const MAX_DETAIL_CHARACTERS: usize = 300;

type Refusal = (Reason, String);

/// The id and the text of a record, if a consumer with this configuration would take it for a
/// review.
pub fn review(
    config: &Config,
    partition: i32,
    offset: i64,
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
) -> Option<(String, String)> {
    let record = Record { offset, key, payload, ..Record::default() };
    match Format::of(config).decode(&config.topic, partition, &record) {
        Decoded::Review(review) => Some((review.review_id, review.text)),
        Decoded::DeadLetter { .. } | Decoded::Tombstone => None,
    }
}

impl Format {
    /// As a consumer is told.
    pub fn of(config: &Config) -> Self {
        Self {
            text_field: config.text_field.clone(),
            id_field: config.id_field.clone(),
            time_field: config.time_field.clone(),
            max_record_bytes: config.max_record_bytes,
        }
    }

    /// Decodes a record of `topic` and `partition`.
    pub fn decode(&self, topic: &str, partition: i32, record: &Record) -> Decoded {
        let Some(payload) = &record.payload else {
            return Decoded::Tombstone;
        };
        match self.review(payload, record.key.as_deref()) {
            Ok((mut review, id)) => {
                review.review_id = id.unwrap_or_else(|| format!("{topic}/{partition}/{}", record.offset));
                Decoded::Review(review)
            }
            Err((reason, detail)) => Decoded::DeadLetter { reason, detail },
        }
    }

    fn review(&self, payload: &[u8], key: Option<&[u8]>) -> Result<(Review, Option<String>), Refusal> {
        if payload.is_empty() {
            return Err(refuse(Reason::EmptyValue, "the value has no bytes"));
        }
        if payload.len() > self.max_record_bytes {
            let detail = format!("{} bytes, {} allowed", payload.len(), self.max_record_bytes);
            return Err((Reason::TooLarge, detail));
        }
        let json = str::from_utf8(payload).map_err(|error| (Reason::NotUtf8, error.to_string()))?;
        let fields = self.fields(json)?;
        let review = Review {
            review_id: String::new(),
            text: fields.text.ok_or_else(|| refuse(Reason::TextMissing, "no text"))?,
            created_at: fields.created_at,
            attributes: fields.attributes.map(|attributes| attributes + "}"),
        };
        Ok((review, fields.id.or_else(|| key.and_then(id_of_key))))
    }

    fn fields(&self, json: &str) -> Result<Fields, Refusal> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let mut refusal = None;
        let reader = Reader { format: self, refusal: &mut refusal };
        let fields = deserializer.deserialize_map(reader).and_then(|fields| {
            deserializer.end()?;
            Ok(fields)
        });
        match (refusal, fields) {
            (_, Err(error)) => Err(classify(json, &error)),
            (Some(refusal), Ok(_)) => Err(refusal),
            (None, Ok(fields)) => Ok(fields),
        }
    }
}

/// What an object says, with `attributes` still without its closing brace.
#[derive(Default)]
struct Fields {
    text: Option<String>,
    id: Option<String>,
    created_at: Option<DateTime<Utc>>,
    attributes: Option<String>,
}

impl Fields {
    fn keep(&mut self, name: &str, value: &RawValue) -> Result<(), Refusal> {
        inspect(value.get())?;
        if name.contains('\0') {
            return Err(refuse(Reason::NulCharacter, "a field name with a NUL character"));
        }
        let attributes = self.attributes.get_or_insert_with(String::new);
        attributes.push(if attributes.is_empty() { '{' } else { ',' });
        attributes.push_str(&serde_json::to_string(name).expect("a string is JSON, or it is a bug"));
        attributes.push(':');
        attributes.push_str(value.get());
        Ok(())
    }
}

/// Reads an object in one pass. serde_json's error cannot carry a [`Reason`], so a refusal takes
/// its own way out.
struct Reader<'a> {
    format: &'a Format,
    refusal: &'a mut Option<Refusal>,
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<Name<'de>>()? {
            // After a refusal the rest is only checked to be JSON: what is not JSON at all is
            // refused for that.
            if self.refusal.is_some() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value::<&RawValue>()?;
            *self.refusal = self.field(&mut fields, &name.0, value).err();
        }
        Ok(fields)
    }
}

impl Reader<'_> {
    fn field(&self, fields: &mut Fields, name: &str, value: &RawValue) -> Result<(), Refusal> {
        if name == self.format.text_field {
            fields.text = text(value.get())?;
        } else if name == self.format.id_field {
            fields.id = id(value.get())?;
        } else if name == self.format.time_field && value.get() != "null" {
            fields.created_at = time(value.get());
            if fields.created_at.is_none() {
                fields.keep(name, value)?;
            }
        } else if name != self.format.time_field {
            fields.keep(name, value)?;
        }
        Ok(())
    }
}

/// A field name: borrowed from the message unless it has an escape in it.
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(name))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(name.to_owned()))
            }
        }
        deserializer.deserialize_str(Borrow).map(Name)
    }
}

fn text(json: &str) -> Result<Option<String>, Refusal> {
    if json == "null" {
        return Ok(None);
    }
    let text = string(json)?.ok_or_else(|| refuse(Reason::TextNotAString, "the text is not a string"))?;
    if text.trim().is_empty() {
        return Err(refuse(Reason::TextEmpty, "the text is empty or white space"));
    }
    Ok(Some(text))
}

fn id(json: &str) -> Result<Option<String>, Refusal> {
    let id = match string(json)? {
        Some(id) => id,
        None if json == "null" => return Ok(None),
        None if is_integer(json) => json.to_owned(),
        None => {
            return Err(refuse(Reason::IdInvalid, "the id is neither a string nor an integer"));
        }
    };
    match id.len() {
        0 => Ok(None),
        length if length <= MAX_ID_BYTES => Ok(Some(id)),
        length => Err((Reason::IdTooLong, format!("{length} bytes, {MAX_ID_BYTES} allowed"))),
    }
}

fn is_integer(json: &str) -> bool {
    let digits = json.strip_prefix('-').unwrap_or(json);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn id_of_key(key: &[u8]) -> Option<String> {
    let key = str::from_utf8(key).ok()?;
    let fits = !key.is_empty() && key.len() <= MAX_ID_BYTES && !key.contains('\0');
    fits.then(|| key.to_owned())
}

/// The string that `json` is, or `None` if it is something else.
fn string(json: &str) -> Result<Option<String>, Refusal> {
    let Some(inner) = json.strip_prefix('"').and_then(|json| json.strip_suffix('"')) else {
        return Ok(None);
    };
    if !inner.contains('\\') {
        // serde_json lets no control character through unescaped, so there is no NUL here.
        return Ok(Some(inner.to_owned()));
    }
    inspect(json)?;
    serde_json::from_str(json).map(Some).map_err(|error| (Reason::NotJson, error.to_string()))
}

fn classify(json: &str, error: &serde_json::Error) -> Refusal {
    let not_an_object = error.is_data() && !json.trim_start().starts_with('{');
    let reason = if not_an_object { Reason::NotAnObject } else { Reason::NotJson };
    (reason, error.to_string())
}

fn refuse(reason: Reason, detail: &str) -> Refusal {
    (reason, detail.to_owned())
}

#[cfg(test)]
mod tests;
