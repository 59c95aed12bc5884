//! The features of a text: runs of one, two or more units.
//!
//! A unit is a word where words are written apart (`very`), and a single character where they are
//! not (`很`); punctuation is a unit as well, white space is none. The ends of a text are units too,
//! so that what it begins and ends with is a feature. Width, case and composition make no
//! difference (NFKC, lower case).

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// The shortest and the longest n-grams that are features, in units; written `[1, 2]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NgramRange(pub usize, pub usize);

impl NgramRange {
    /// Whether there is anything in it, and not more than a text would be worth.
    pub(super) fn is_sensible(self) -> bool {
        1 <= self.0 && self.0 <= self.1 && self.1 <= 8
    }
}

/// Reads the n-grams of one text after another, in memory that it keeps.
#[derive(Clone, Debug)]
pub struct Ngrams {
    range: NgramRange,
    max_units: usize,
    folded: String,
    /// Where each unit begins and ends in `folded`.
    units: Vec<(usize, usize)>,
    hashes: Vec<u64>,
}

impl Ngrams {
    /// A reader of the n-grams of these lengths among the first `max_units` units of a text.
    pub fn new(range: NgramRange, max_units: usize) -> Self {
        Self { range, max_units, folded: String::new(), units: Vec::new(), hashes: Vec::new() }
    }

    /// The hashes of a text's n-grams, ascending, each as often as it occurs.
    pub fn read(&mut self, text: &str) -> &[u64] {
        let mut hashes = std::mem::take(&mut self.hashes);
        hashes.clear();
        self.each(text, |_, hash| hashes.push(hash));
        hashes.sort_unstable();
        self.hashes = hashes;
        &self.hashes
    }

    /// Gives every n-gram of a text, as often as it occurs: its length in units, and its hash.
    pub fn each(&mut self, text: &str, mut take: impl FnMut(usize, u64)) {
        self.split(text);
        let NgramRange(shortest, longest) = self.range;
        let count = self.units.len() + 2;
        let unit = |index: usize| match index {
            0 => BEGIN,
            index if index == count - 1 => END,
            index => {
                let (start, end) = self.units[index - 1];
                &self.folded.as_bytes()[start..end]
            }
        };
        for first in 0..count {
            let mut hash = FNV_BASIS;
            for length in 1..=longest.min(count - first) {
                hash = extend(hash, unit(first + length - 1));
                if length >= shortest {
                    take(length, scatter(hash));
                }
            }
        }
    }

    /// How many units a text has, up to the greatest number that is read.
    pub fn count_units(&mut self, text: &str) -> usize {
        self.split(text);
        self.units.len()
    }

    fn split(&mut self, text: &str) {
        fold(text, &mut self.folded);
        self.units.clear();
        let mut open = None;
        for (at, character) in self.folded.char_indices() {
            if is_of_a_word(character) {
                open.get_or_insert(at);
                continue;
            }
            if let Some(start) = open.take() {
                self.units.push((start, at));
            }
            if self.units.len() >= self.max_units {
                break;
            }
            if !character.is_whitespace() {
                self.units.push((at, at + character.len_utf8()));
            }
        }
        if let Some(start) = open {
            self.units.push((start, self.folded.len()));
        }
        self.units.truncate(self.max_units);
    }
}

/// NFKC, then lower case.
fn fold(text: &str, folded: &mut String) {
    folded.clear();
    for character in text.chars() {
        let Some(simple) = fold_alone(character) else {
            folded.clear();
            return folded.extend(text.nfkc().flat_map(char::to_lowercase));
        };
        folded.push(simple);
    }
}

/// What becomes of the characters that most of Chinese and of English consists of, whatever stands
/// beside them; `None` for the others. It saves a third of the time.
fn fold_alone(character: char) -> Option<char> {
    match character {
        '\0'..='\x7f' => Some(character.to_ascii_lowercase()),
        '\u{3000}' => Some(' '),
        '\u{3001}'..='\u{3029}' | '\u{4e00}'..='\u{9fff}' => Some(character),
        // The wide forms of ASCII.
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(u32::from(character) - 0xfee0).map(|narrow| narrow.to_ascii_lowercase())
        }
        _ => None,
    }
}

/// Letters and digits of scripts that write words apart; those of China, Japan, Korea and the
/// south-east of Asia stand alone, as does everything else.
fn is_of_a_word(character: char) -> bool {
    match character {
        '\0'..='\x7f' => character.is_ascii_alphanumeric(),
        '\u{80}'..='\u{dff}' | '\u{1200}'..='\u{16ff}' | '\u{1e00}'..='\u{1fff}' => character.is_alphanumeric(),
        _ => false,
    }
}

/// The ends of a text, as bytes that no UTF-8 has.
const BEGIN: &[u8] = &[0xfe];
const END: &[u8] = &[0xfd];

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits, of an n-gram's units with a byte behind each that no UTF-8 has: "ab c" is not
/// "a bc".
fn extend(hash: u64, unit: &[u8]) -> u64 {
    unit.iter().chain(&[0xff]).fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// MurmurHash3's last step: one to one, and it spreads FNV's values evenly over the upper bits, by
/// which they are found.
fn scatter(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn units(text: &str) -> Vec<String> {
        let mut ngrams = Ngrams::new(NgramRange(1, 1), 100);
        ngrams.split(text);
        ngrams.units.iter().map(|(start, end)| ngrams.folded[*start..*end].to_owned()).collect()
    }

    #[test]
    fn words_are_units_where_they_are_written_apart_and_characters_elsewhere() {
        assert_eq!(units("送了2小时，very  SLOW!"), ["送", "了", "2", "小", "时", ",", "very", "slow", "!"]);
        assert_eq!(units("Очень вкусно"), ["очень", "вкусно"]);
        assert_eq!(units("맛있어요 อร่อย")[..4], ["맛", "있", "어", "요"]);
        assert_eq!(units(" \u{3000}\n"), [""; 0]);
    }

    #[test]
    fn width_case_and_composition_make_no_difference() {
        assert_eq!(units("ＶＥＲＹ　Good！"), units("very good!"));
        assert_eq!(units("CAFE\u{301}"), units("café"));
    }

    #[test]
    fn only_the_first_units_of_a_text_are_read() {
        let mut ngrams = Ngrams::new(NgramRange(1, 2), 3);
        let short = ngrams.read("很 好 吃").to_vec();
        assert_eq!(ngrams.read("很好吃，下次还来"), short);
        assert_eq!(ngrams.read("很好吃abc"), short);
        assert_eq!((short.len(), ngrams.count_units("很好吃，下次还来")), (5 + 4, 3));
        let words = ngrams.read("one two three").to_vec();
        assert_eq!(ngrams.read("one two three four five"), words);
    }

    /// ```python
    /// def fnv1a(data):
    ///     h = 0xcbf29ce484222325
    ///     for b in data: h = (h ^ b) * 0x100000001b3 % 2**64
    ///     return h
    /// def fmix64(h):
    ///     for m in (0xff51afd7ed558ccd, 0xc4ceb9fe1a85ec53): h = (h ^ h >> 33) * m % 2**64
    ///     return h ^ h >> 33
    /// units = [b"\xfe", "好".encode(), b"ok", b"\xfd"]
    /// pairs = [units[i:i + 2] for i in range(3)]
    /// print([fmix64(fnv1a(b"".join(u + b"\xff" for u in n))) for n in [[u] for u in units] + pairs])
    /// ```
    #[test]
    fn hashes_are_those_that_checkpoints_on_disk_hold() {
        let mut expected: [u64; 7] = [
            3434338312684237183,
            3954197651364881185,
            11072121602490101704,
            3783021977757866346,
            17277498736112535976,
            16080405013785097211,
            3843824137360257145,
        ];
        expected.sort_unstable();
        assert_eq!(Ngrams::new(NgramRange(1, 2), 9).read("好 OK"), expected);
    }

    #[test]
    fn units_do_not_run_together() {
        let mut ngrams = Ngrams::new(NgramRange(4, 4), 9);
        assert_ne!(ngrams.read("ab c").to_vec(), ngrams.read("a bc").to_vec());
    }

    proptest! {
        #[test]
        fn the_short_way_of_folding_is_the_long_one(text in "[\u{1}-\u{7e}\u{ff01}-\u{ff5e}\u{4e00}-\u{9fff}\u{3000}-\u{3029}]{0,30}[\u{300}é]?") {
            let mut folded = String::new();
            fold(&text, &mut folded);
            let long: String = text.nfkc().flat_map(char::to_lowercase).collect();
            prop_assert_eq!(folded, long);
        }

        #[test]
        fn any_text_has_sorted_ngrams_as_many_as_its_units_make(text in "\\PC{0,40}") {
            let mut ngrams = Ngrams::new(NgramRange(1, 3), 1_000);
            let with_ends = ngrams.count_units(&text) + 2;
            let hashes = ngrams.read(&text);
            prop_assert!(hashes.is_sorted());
            prop_assert_eq!(hashes.len(), with_ends + (with_ends - 1) + (with_ends - 2));
        }
    }
}
