//! Numbers, times and bytes as people read them. Templates hand over values and references alike.

use std::borrow::Borrow;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::visit::Language;

/// A whole number in groups of three.
pub fn grouped(number: impl Borrow<i64>) -> String {
    let number = *number.borrow();
    let digits = number.unsigned_abs().to_string();
    let mut out = if number < 0 { "-".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share as a percentage.
pub fn percent(share: impl Borrow<f64>) -> String {
    format!("{:.1}%", 100.0 * share.borrow())
}

/// A time in UTC, to the second.
pub fn time(at: impl Borrow<DateTime<Utc>>) -> String {
    at.borrow().format("%Y-%m-%d %H:%M:%S").to_string()
}

/// The same for programs.
pub fn machine_time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// How long ago a time was.
pub fn ago(at: impl Borrow<DateTime<Utc>>, language: impl Borrow<Language>) -> String {
    let seconds = (Utc::now() - at.borrow()).num_seconds().max(0);
    let (number, english, chinese) = match seconds {
        0..120 => (seconds, "s ago", "秒前"),
        120..7_200 => (seconds / 60, "min ago", "分钟前"),
        7_200..172_800 => (seconds / 3_600, "h ago", "小时前"),
        _ => (seconds / 86_400, "days ago", "天前"),
    };
    format!("{number} {}", language.borrow().say(english, chinese))
}

/// A length of time in seconds.
pub fn seconds(seconds: impl Borrow<f64>) -> String {
    let seconds = *seconds.borrow();
    if seconds < 1.0 { format!("{:.0} ms", 1e3 * seconds) } else { format!("{seconds:.1} s") }
}

/// The beginning of a text; an ellipsis where there is more.
pub fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Bytes, as text where they are, with what is not.
pub fn bytes(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|character| if character.is_control() { '·' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_short() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567, -5_000].map(|number: i64| grouped(number)),
            ["0", "999", "1,000", "1,234,567", "-5,000"]
        );
        assert_eq!((shortened("很快好吃", 2), shortened("很快", 2)), ("很快…".to_owned(), "很快".to_owned()));
        assert_eq!(bytes(b"\x00{\xff"), "·{\u{fffd}");
        assert_eq!((seconds(0.0214), seconds(12.34)), ("21 ms".to_owned(), "12.3 s".to_owned()));
    }
}
