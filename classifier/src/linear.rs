//! The other kind of model: a linear classifier over n-grams, fitted and run in a fraction of a
//! network's time.
//!
//! A text is a vector of its n-grams' `(1 + ln count) · idf`, scaled to length 1; a class has a
//! weight for each n-gram and a bias; the probabilities are the softmax of the classes' sums. As
//! scikit-learn's `TfidfVectorizer(sublinear_tf=True)` has it, n-grams that the model does not know
//! count for nothing.
//!
//! The directory holds `config.json` (`"model_type": "labelstream-linear"`), `model.safetensors`
//! and our `manifest.json`. transformers does not know this kind.

mod files;
mod ngrams;

use bert::{Classes, parallel};

use crate::prediction::Prediction;
use crate::text_encoder::{TooLong, Truncation};

pub use ngrams::{NgramRange, Ngrams};

/// What `config.json` calls this kind of model.
pub const MODEL_TYPE: &str = bert::LINEAR_MODEL;

/// Units of a text that are read at most, by default: more than any review has, and a bound to what
/// one text may cost.
pub const MAX_UNITS: usize = 65_536;

/// Texts a thread takes at once: long enough not to fight over the counter, short enough to share a
/// small batch.
const TEXTS_AT_ONCE: usize = 128;

/// A linear classifier, ready to label.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearModel {
    classes: Classes,
    range: NgramRange,
    weights: LinearWeights,
    /// For each value of a hash's upper bits, where the features with it begin; one more at the
    /// end.
    starts: Vec<u32>,
    /// How many bits of a hash those are not.
    shift: u32,
}

/// The numbers of a [`LinearModel`], as they stand in `model.safetensors`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinearWeights {
    /// The hashes of the known n-grams, as [`Ngrams`] gives them, ascending.
    pub features: Vec<u64>,
    /// What a feature's count is multiplied by.
    pub idf: Vec<f32>,
    /// The classes' weights of each feature: `weight[feature · classes + class]`.
    pub weight: Vec<f32>,
    /// What each class has without any feature.
    pub bias: Vec<f32>,
}

/// A tensor that does not fit the others, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tensor {tensor}: {problem}")]
pub struct Misfit {
    /// The tensor's name.
    pub tensor: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl LinearModel {
    /// A model of these numbers, checked: sizes that fit each other, features in order, everything
    /// finite.
    ///
    /// # Errors
    /// The first tensor that is not so.
    pub fn new(classes: Classes, range: NgramRange, weights: LinearWeights) -> Result<Self, Misfit> {
        weights.check(classes.len())?;
        let features = &weights.features;
        // About one feature for each value of the upper bits.
        let bits = features.len().next_power_of_two().ilog2().max(1);
        let shift = u64::BITS - bits;
        let mut starts = vec![0; (1 << bits) + 1];
        for feature in features {
            starts[(feature >> shift) as usize + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        Ok(Self { classes, range, weights, starts, shift })
    }

    /// The class names, in the order of the scores.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// The lengths of the n-grams.
    pub fn range(&self) -> NgramRange {
        self.range
    }

    /// The model's numbers.
    pub fn weights(&self) -> &LinearWeights {
        &self.weights
    }

    /// Labels any number of texts, in order, on all cores; of each, the first `max_units` units.
    ///
    /// # Errors
    /// None: the result is that of every kind of model.
    pub fn classify<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        max_units: usize,
    ) -> candle_core::Result<Vec<Prediction>> {
        Ok(self.logits(texts, max_units)?.iter().map(|logits| Prediction::from_logits(logits)).collect())
    }

    /// The sum of each class's weights, which `classify` takes the softmax of, for any number of
    /// texts.
    ///
    /// # Errors
    /// None.
    pub fn logits<T: AsRef<str> + Sync>(&self, texts: &[T], max_units: usize) -> candle_core::Result<Vec<Vec<f32>>> {
        let chunks: Vec<&[T]> = texts.chunks(TEXTS_AT_ONCE).collect();
        let sum_chunk = |chunk: &&[T]| {
            let mut ngrams = Ngrams::new(self.range, max_units);
            Ok(chunk.iter().map(|text| self.sums(ngrams.read(text.as_ref()))).collect::<Vec<_>>())
        };
        Ok(parallel::map(&chunks, sum_chunk)?.into_iter().flatten().collect())
    }

    /// The part of a text of which the first `max_units` units are read.
    pub(crate) fn cut<'a>(&self, text: &'a str, max_units: usize, truncation: Truncation) -> Result<&'a str, TooLong> {
        let count = |text: &str, most| Ngrams::new(self.range, most).count_units(text);
        match truncation {
            Truncation::Right => Ok(text),
            Truncation::Refused => TooLong::check(max_units, |most| count(text, most)).map(|()| text),
            Truncation::Left => {
                // The fewer characters are left, the fewer units.
                let starts: Vec<usize> = text.char_indices().map(|(start, _)| start).collect();
                let too_long = |start: &usize| count(&text[*start..], max_units + 1) > max_units;
                let first = if too_long(&0) { starts.partition_point(too_long) } else { 0 };
                Ok(starts.get(first).map_or("", |start| &text[*start..]))
            }
        }
    }

    /// The classes' sums for a text's n-grams, sorted.
    fn sums(&self, ngrams: &[u64]) -> Vec<f32> {
        let classes = self.classes.len();
        let mut sums = vec![0.0; classes];
        let mut squares = 0.0;
        for repeats in ngrams.chunk_by(u64::eq) {
            let Some(feature) = self.find(repeats[0]) else { continue };
            let value = term_frequency(repeats.len()) * self.weights.idf[feature];
            squares += value * value;
            let weights = &self.weights.weight[feature * classes..][..classes];
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum += value * weight;
            }
        }
        let scale = if squares > 0.0 { 1.0 / squares.sqrt() } else { 0.0 };
        sums.iter().zip(&self.weights.bias).map(|(sum, bias)| sum * scale + bias).collect()
    }

    fn find(&self, hash: u64) -> Option<usize> {
        let bucket = (hash >> self.shift) as usize;
        let (start, end) = (self.starts[bucket] as usize, self.starts[bucket + 1] as usize);
        let features = &self.weights.features[start..end];
        features.iter().position(|feature| *feature == hash).map(|offset| start + offset)
    }
}

/// What an n-gram that occurs so often counts, before its idf: 1 and the natural logarithm.
pub fn term_frequency(count: usize) -> f32 {
    if count == 1 { 1.0 } else { 1.0 + (count as f32).ln() }
}

impl LinearWeights {
    fn check(&self, classes: usize) -> Result<(), Misfit> {
        let misfit = |tensor, problem| Err(Misfit { tensor, problem });
        let count = self.features.len();
        if u32::try_from(count).is_err() {
            return misfit("features", format!("has {count} entries, more than a model can have"));
        }
        if let Some(index) = self.features.windows(2).position(|pair| pair[0] >= pair[1]) {
            return misfit("features", format!("entries {index} and {} are not in ascending order", index + 1));
        }
        let sizes =
            [("idf", &self.idf, count), ("weight", &self.weight, count * classes), ("bias", &self.bias, classes)];
        for (name, values, size) in sizes {
            if values.len() != size {
                return misfit(name, format!("has {} numbers where the model has {size}", values.len()));
            }
            if values.iter().any(|value| !value.is_finite()) {
                return misfit(name, "holds a number that is not finite".to_owned());
            }
        }
        Ok(())
    }
}
