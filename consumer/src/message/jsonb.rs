//! What is JSON but cannot stand in a `jsonb` column, found in one scan that builds nothing.

use super::{Reason, Refusal, refuse};

/// As deep as serde_json goes by itself, and far from the limits of Postgres.
const MAX_DEPTH: usize = 128;

/// Refuses what is JSON but no `jsonb`: half surrogate pairs, NUL, nesting without end. `json` is
/// known to be JSON.
pub(super) fn inspect(json: &str) -> Result<(), Refusal> {
    let mut depth = 0;
    let mut in_string = false;
    let mut bytes = json.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' => {
                let escape = bytes.next().map(|(_, escape)| escape);
                if escape == Some(b'u') {
                    let skip = unicode_escape(&json[at..])?;
                    // `\u` is taken; what is left of the escape is stepped over.
                    bytes.nth(skip - 3);
                }
            }
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err((Reason::TooDeep, format!("nested deeper than {MAX_DEPTH}")));
                }
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    Ok(())
}

/// The length of the `\uXXXX` or `\uXXXX\uXXXX` that `escape` starts with.
fn unicode_escape(escape: &str) -> Result<usize, Refusal> {
    let unit = |at: usize| {
        let digits = escape.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    match unit(0) {
        Some(0) => Err(refuse(Reason::NulCharacter, "a NUL character")),
        Some(0xD800..=0xDBFF) if matches!(unit(6), Some(0xDC00..=0xDFFF)) => Ok(12),
        Some(0xD800..=0xDFFF) => Err(refuse(Reason::LoneSurrogate, "half of a surrogate pair")),
        _ => Ok(6),
    }
}
