//! Whether the stream still looks as it did when a version began to serve: by the share of its
//! classes, by its scores, by the length of its texts, and by n-grams that it did not have then.
//!
//! A change is an alarm where it is large and no chance: a population stability index of
//! `LARGE` or more, and a p-value below `CHANCE`. On a stream that does not change, an hour of
//! `SAMPLE` predictions is an alarm less than once in a hundred days, which a test holds.

mod statistics;

use std::collections::BTreeMap;

use classifier::linear::{MAX_UNITS, NgramRange, Ngrams};
use serde::{Deserialize, Serialize};
use store::Seen;

use statistics::{histograms_differ, means_differ, stability_index};

/// Predictions of an hour that are looked at.
pub const SAMPLE: u32 = 2_000;

/// Predictions without which nothing is said.
pub const ENOUGH: usize = 200;

/// How large a change of a distribution must be: by the usual reading of the index, 0.1 is a change
/// and 0.25 a great one.
const LARGE: f64 = 0.1;

/// By how much the share of unknown n-grams must change.
const LARGE_SHARE: f64 = 0.05;

/// How improbable a change must be by chance, of four that are looked at an hour: an alarm in a
/// hundred days of 24 hours.
const CHANCE: f64 = 0.01 / 24.0 / 4.0;

/// Single units and pairs.
const RANGE: NgramRange = NgramRange(1, 2);
/// Bits for the n-grams that are known.
const BITS: usize = 1 << 19;
const SCORE_BINS: usize = 10;
/// Two an octave, up to a thousand characters.
const LENGTH_BINS: usize = 21;

/// What some predictions look like.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// How many they are.
    pub predictions: usize,
    /// How many each class has.
    pub classes: BTreeMap<String, u64>,
    /// How many have a score in each tenth.
    pub scores: Vec<u64>,
    /// How many have a text of each length: two bins for each doubling of the characters.
    pub lengths: Vec<u64>,
    /// Mean share of a text's n-grams that are unknown, and the mean of its square.
    pub unknown: (f64, f64),
    /// How many texts that rests on.
    pub of_unknown: usize,
    /// Mean of the calibrated scores: the expected accuracy.
    pub expected_accuracy: f64,
}

/// The n-grams that are known, as bits at their hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known(Vec<u8>);

/// How one thing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The population stability index; of unknown n-grams the difference of the shares.
    pub size: f64,
    /// The probability of as large a change by chance.
    pub p: f64,
    /// Whether it is an alarm.
    pub is_alarm: bool,
}

impl Known {
    /// The n-grams of these texts.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut bits = vec![0; BITS / 8];
        let mut ngrams = Ngrams::new(RANGE, MAX_UNITS);
        for text in texts {
            ngrams.each(text, |_, hash| {
                let (byte, bit) = place(hash);
                bits[byte] |= bit;
            });
        }
        Self(bits)
    }

    /// As they were stored; `None` where they are of another size.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() == BITS / 8).then_some(Self(bytes))
    }

    /// To be stored.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The share of a text's n-grams that are not among them.
    fn unknown(&self, ngrams: &mut Ngrams, text: &str) -> f64 {
        let (mut all, mut unknown) = (0_u32, 0_u32);
        ngrams.each(text, |_, hash| {
            let (byte, bit) = place(hash);
            all += 1;
            unknown += u32::from(self.0[byte] & bit == 0);
        });
        f64::from(unknown) / f64::from(all.max(1))
    }
}

fn place(hash: u64) -> (usize, u8) {
    let bit = (hash as usize) % BITS;
    (bit / 8, 1 << (bit % 8))
}

impl Profile {
    /// What predictions look like to whoever knows these n-grams. `temperature` divides the logits
    /// of the scores, so that they are as high as they are right. The first `not_new` texts say
    /// nothing of unknown n-grams, for theirs are known.
    pub fn new(seen: &[Seen], known: &Known, temperature: f64, not_new: usize) -> Self {
        let mut profile = Self {
            predictions: seen.len(),
            scores: vec![0; SCORE_BINS],
            lengths: vec![0; LENGTH_BINS],
            ..Self::default()
        };
        let mut ngrams = Ngrams::new(RANGE, MAX_UNITS);
        for (index, seen) in seen.iter().enumerate() {
            *profile.classes.entry(seen.label.clone()).or_default() += 1;
            let score = seen.scores.iter().copied().fold(0.0, f32::max);
            profile.scores[((score * SCORE_BINS as f32) as usize).min(SCORE_BINS - 1)] += 1;
            let length = (2.0 * (seen.text.chars().count().max(1) as f64).log2()) as usize;
            profile.lengths[length.min(LENGTH_BINS - 1)] += 1;
            profile.expected_accuracy += calibrated(&seen.scores, temperature) / seen_count(profile.predictions);
            if index >= not_new {
                let unknown = known.unknown(&mut ngrams, &seen.text);
                profile.of_unknown += 1;
                profile.unknown.0 += unknown;
                profile.unknown.1 += unknown * unknown;
            }
        }
        profile.unknown.0 /= seen_count(profile.of_unknown);
        profile.unknown.1 /= seen_count(profile.of_unknown);
        profile
    }

    /// How this differs from what it was.
    pub fn changes(&self, reference: &Self) -> BTreeMap<&'static str, Change> {
        let mut classes = (Vec::new(), Vec::new());
        for class in
            reference.classes.keys().chain(self.classes.keys().filter(|class| !reference.classes.contains_key(*class)))
        {
            let count = |of: &Self| of.classes.get(class).copied().unwrap_or(0);
            classes.0.push(count(reference));
            classes.1.push(count(self));
        }
        BTreeMap::from([
            ("classes", histogram(&classes.0, &classes.1)),
            ("scores", histogram(&reference.scores, &self.scores)),
            ("lengths", histogram(&reference.lengths, &self.lengths)),
            ("unknown", self.unknown_change(reference)),
        ])
    }

    fn unknown_change(&self, reference: &Self) -> Change {
        let of = |profile: &Self| (profile.unknown.0, profile.unknown.1, profile.of_unknown as f64);
        let (size, p) = (self.unknown.0 - reference.unknown.0, means_differ(of(self), of(reference)));
        Change { size, p, is_alarm: p < CHANCE && size.abs() >= LARGE_SHARE }
    }
}

fn seen_count(count: usize) -> f64 {
    count.max(1) as f64
}

fn histogram(reference: &[u64], now: &[u64]) -> Change {
    let (size, p) = (stability_index(reference, now), histograms_differ(reference, now));
    Change { size, p, is_alarm: p < CHANCE && size >= LARGE }
}

/// The greatest of the probabilities once their logits are divided by the temperature.
fn calibrated(scores: &[f32], temperature: f64) -> f64 {
    let greatest = f64::from(scores.iter().copied().fold(f32::MIN_POSITIVE, f32::max)).ln();
    let sum: f64 = scores
        .iter()
        .map(|score| ((f64::from(score.max(f32::MIN_POSITIVE)).ln() - greatest) / temperature).exp())
        .sum();
    1.0 / sum.max(1.0)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::random::{Purpose, Random};

    const FOOD: [&str; 6] = ["送餐", "味道", "好吃", "很慢", "米饭", "分量"];
    const HOTEL: [&str; 6] = ["房间", "酒店", "前台", "很旧", "早餐", "干净"];
    const ENGLISH: [&str; 6] = ["the room ", "was clean ", "breakfast ", "staff ", "very slow ", "would not return "];

    fn seen(random: &mut Random, words: &[&str], good: f64, count: usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        for _ in 0..count {
            let text: String = (0..2 + random.below(8)).map(|_| words[random.below(words.len())]).collect();
            let score = (0.5 + 0.5 * random.uniform().sqrt()) as f32;
            let label = if random.chance(good) { "好评" } else { "差评" };
            seen.push(Seen {
                text,
                label: label.to_owned(),
                scores: vec![score, 1.0 - score],
                classified_at: Utc::now(),
            });
        }
        seen
    }

    fn reference(random: &mut Random) -> (Profile, Known) {
        let first = seen(random, &FOOD, 0.6, 2_000);
        let known = Known::of(first[..1_000].iter().map(|seen| seen.text.as_str()));
        (Profile::new(&first, &known, 1.0, 1_000), known)
    }

    fn alarms(now: &[Seen], reference: &Profile, known: &Known) -> Vec<&'static str> {
        let changes = Profile::new(now, known, 1.0, 0).changes(reference);
        changes.into_iter().filter(|(_, change)| change.is_alarm).map(|(what, _)| what).collect()
    }

    #[test]
    fn a_stream_that_does_not_change_gives_less_than_an_alarm_in_a_hundred_days() {
        let random = &mut Random::new(1);
        let mut false_alarms = 0;
        for _ in 0..20 {
            let (first, known) = reference(random);
            for count in [200, 500, 2_000] {
                for _ in 0..40 {
                    false_alarms += usize::from(!alarms(&seen(random, &FOOD, 0.6, count), &first, &known).is_empty());
                }
            }
        }
        // 2,400 hours are a hundred days.
        assert!(false_alarms <= 1, "{false_alarms} of 2,400 hours");
    }

    #[test]
    fn other_reviews_another_language_and_other_opinions_are_seen_within_an_hour() {
        let random = &mut Random::of(2, Purpose::Order, 0);
        let (first, known) = reference(random);
        assert!(alarms(&seen(random, &HOTEL, 0.6, 300), &first, &known).contains(&"unknown"));
        let english = alarms(&seen(random, &ENGLISH, 0.6, 300), &first, &known);
        assert!(english.contains(&"unknown") && english.contains(&"lengths"), "{english:?}");
        assert_eq!(alarms(&seen(random, &FOOD, 0.3, 300), &first, &known), ["classes"]);
    }

    #[test]
    fn the_expected_accuracy_is_the_mean_of_the_calibrated_scores() {
        let of = |score: f32| Seen {
            text: "x".into(),
            label: "a".into(),
            scores: vec![score, 1.0 - score],
            classified_at: Utc::now(),
        };
        let known = Known::of([]);
        let expected = |temperature| Profile::new(&[of(0.9), of(0.6)], &known, temperature, 0).expected_accuracy;
        assert!((expected(1.0) - 0.75).abs() < 1e-6);
        // Odds of 9 and 1.5, as their square roots: 3 and 1.2247.
        assert!((expected(2.0) - (0.75 + 0.550_51) / 2.0).abs() < 1e-4, "{}", expected(2.0));
    }
}
