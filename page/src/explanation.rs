//! The words that decided: without them the model would be less sure of what it said.
//!
//! A text is read again with two neighbouring words (of Chinese, characters) left out, for all
//! neighbours; a word matters as much as the probability of the answer falls without it. It works
//! for any model, and is exact about that model, not about why it is so.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use classifier::Classifier;

/// A piece of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    pub text: String,
    /// Whether the answer hangs on it.
    pub decides: bool,
}

/// Units that a text is cut into, at most: of a longer one each holds several words.
const MOST_UNITS: usize = 48;
/// Bytes of the text that are looked at.
const MOST_BYTES: usize = 2_000;
/// What is below this is nothing.
const LEAST: f32 = 0.02;
/// Words that matter this much of what the first one does are marked too.
const SHARE: f32 = 0.4;

/// The text in pieces, those marked on which the answer hangs.
///
/// # Errors
/// The model's.
pub fn explain(model: &Arc<Classifier>, text: &str) -> Result<Vec<Piece>> {
    let units = units(text);
    let mut variants = vec![text.to_owned()];
    variants.extend((0..units.len()).map(|first| without(text, &units[first..(first + 2).min(units.len())])));
    let answers = model.classify(&variants)?;
    let (whole, others) = answers.split_first().context("a text without an answer is a bug")?;
    let (class, sure) = whole.best();
    let falls: Vec<f32> = others.iter().map(|answer| sure - answer.scores[class]).collect();
    // A unit was left out together with the one before it and the one after it.
    let matters: Vec<f32> =
        (0..units.len()).map(|unit| if unit == 0 { falls[0] } else { (falls[unit - 1] + falls[unit]) / 2.0 }).collect();
    let most = matters.iter().copied().fold(0.0, f32::max);
    let decides = |unit: usize| matters[unit] >= LEAST && matters[unit] >= SHARE * most;
    Ok(pieces(text, &units, decides))
}

/// The words of a text, and the characters of those languages that write without spaces.
fn units(text: &str) -> Vec<Range<usize>> {
    let mut units: Vec<Range<usize>> = Vec::new();
    let mut is_in_word = false;
    for (at, character) in text.char_indices().take_while(|(at, _)| *at < MOST_BYTES) {
        let end = at + character.len_utf8();
        let is_letter = character.is_alphanumeric();
        let joins = is_letter && !is_ideograph(character);
        match units.last_mut() {
            Some(last) if joins && is_in_word => last.end = end,
            _ if is_letter => units.push(at..end),
            _ => {}
        }
        is_in_word = joins;
    }
    let each = units.len().div_ceil(MOST_UNITS).max(1);
    units.chunks(each).map(|chunk| chunk[0].start..chunk[chunk.len() - 1].end).collect()
}

fn is_ideograph(character: char) -> bool {
    matches!(character, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

fn without(text: &str, units: &[Range<usize>]) -> String {
    let mut left = String::with_capacity(text.len());
    let mut at = 0;
    for unit in units {
        left.push_str(&text[at..unit.start]);
        at = unit.end;
    }
    left.push_str(&text[at..]);
    left
}

fn pieces(text: &str, units: &[Range<usize>], decides: impl Fn(usize) -> bool) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut add = |text: &str, decides: bool| match pieces.last_mut() {
        Some(last) if last.decides == decides => last.text.push_str(text),
        _ if text.is_empty() => {}
        _ => pieces.push(Piece { text: text.to_owned(), decides }),
    };
    let mut at = 0;
    for (number, unit) in units.iter().enumerate() {
        add(&text[at..unit.start], false);
        add(&text[unit.clone()], decides(number));
        at = unit.end;
    }
    add(&text[at..], false);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<&str> {
        units(text).into_iter().map(|unit| &text[unit]).collect()
    }

    #[test]
    fn words_and_characters_are_told_apart() {
        assert_eq!(of("很快，好吃"), ["很", "快", "好", "吃"]);
        assert_eq!(of("wifi特别差 5 stars!"), ["wifi", "特", "别", "差", "5", "stars"]);
        assert_eq!(of("  …！ "), Vec::<&str>::new());
        assert!(units(&"好".repeat(3_000)).len() <= MOST_UNITS);
    }

    #[test]
    fn the_pieces_are_the_text() {
        let text = "wifi特别差，bad!";
        let pieces = pieces(text, &units(text), |unit| unit == 3 || unit == 4);
        let shown: Vec<(&str, bool)> = pieces.iter().map(|piece| (piece.text.as_str(), piece.decides)).collect();
        assert_eq!(shown, [("wifi特别", false), ("差", true), ("，", false), ("bad", true), ("!", false)]);
        assert_eq!(without(text, &units(text)[1..3]), "wifi差，bad!");
    }
}
