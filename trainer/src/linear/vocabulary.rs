//! The n-grams of the training texts, and what each is worth before anything is learned.

use std::collections::BTreeMap;

use classifier::linear::{MAX_UNITS, Ngrams, term_frequency};

use super::RANGE;
use super::solver::Rows;

/// What n-grams of one, two and three units weigh against each other: a long one says much where it
/// occurs again, but most occur in one text alone.
const LENGTH_WEIGHTS: [f64; 3] = [1.0, 0.8, 0.6];

/// The different n-grams of a text, ascending by hash.
pub(super) type Text = Vec<Ngram>;

pub(super) struct Ngram {
    hash: u64,
    length: u8,
    count: u32,
}

/// Reads every text's n-grams.
pub(super) fn read<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Text> {
    let mut ngrams = Ngrams::new(RANGE, MAX_UNITS);
    let read = |text: &str| {
        let mut counts: BTreeMap<u64, (u8, u32)> = BTreeMap::new();
        ngrams.each(text, |length, hash| counts.entry(hash).or_insert((length as u8, 0)).1 += 1);
        counts.into_iter().map(|(hash, (length, count))| Ngram { hash, length, count }).collect()
    };
    texts.into_iter().map(read).collect()
}

/// The features of a model.
pub(super) struct Vocabulary {
    /// Ascending hashes.
    pub features: Vec<u64>,
    /// What their counts are multiplied by: scikit-learn's smooth idf, times the weight of the
    /// n-gram's length.
    pub idf: Vec<f32>,
}

impl Vocabulary {
    /// Every n-gram of the texts.
    pub fn of(texts: &[&Text]) -> Self {
        let mut all: Vec<(u64, u8)> =
            texts.iter().flat_map(|text| text.iter().map(|ngram| (ngram.hash, ngram.length))).collect();
        all.sort_unstable();
        let (features, idf) = all
            .chunk_by(|one, other| one.0 == other.0)
            .map(|same| {
                let (hash, length) = same[0];
                let idf = ((1.0 + texts.len() as f64) / (1.0 + same.len() as f64)).ln() + 1.0;
                (hash, (idf * LENGTH_WEIGHTS[usize::from(length) - 1]) as f32)
            })
            .unzip();
        Self { features, idf }
    }

    /// The texts as vectors of length 1 over the features.
    pub fn rows(&self, texts: &[&Text]) -> Rows {
        let mut rows = Rows::new(self.features.len());
        for text in texts {
            rows.push(self.row(text).into_iter());
        }
        rows
    }

    /// A text as a vector of length 1 over the features; n-grams that are none count for nothing.
    pub fn row(&self, text: &Text) -> Vec<(u32, f32)> {
        let value = |ngram: &Ngram| {
            let feature = self.features.binary_search(&ngram.hash).ok()?;
            Some((feature as u32, term_frequency(ngram.count as usize) * self.idf[feature]))
        };
        let mut row: Vec<(u32, f32)> = text.iter().filter_map(value).collect();
        let length = row.iter().map(|(_, value)| value * value).sum::<f32>().sqrt();
        row.iter_mut().for_each(|(_, value)| *value /= length);
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// from sklearn.feature_extraction.text import TfidfVectorizer
    /// from sklearn.preprocessing import normalize
    /// import numpy as np
    /// texts = ["好吃好吃", "好慢", "very good"]
    /// def ngrams(text):
    ///     units = ["<"] + (text.split() if text.isascii() else list(text)) + [">"]
    ///     return [" ".join(units[i:i + n]) for n in (1, 2, 3) for i in range(len(units) - n + 1)]
    /// vectorizer = TfidfVectorizer(analyzer=ngrams, sublinear_tf=True)
    /// values = vectorizer.fit_transform(texts).toarray()
    /// weights = [(1, .8, .6)[name.count(" ")] for name in vectorizer.get_feature_names_out()]
    /// for row in normalize(values * np.array(weights)): print(sorted(row[row > 0].round(6)))
    /// ```
    #[test]
    fn rows_are_those_of_scikit_learn() {
        let texts = read(["好吃好吃", "好慢", "very good"]);
        let texts: Vec<&Text> = texts.iter().collect();
        let rows = Vocabulary::of(&texts).rows(&texts);
        for (index, expected) in EXPECTED.iter().enumerate() {
            let mut values: Vec<f32> = rows.get(index).iter().map(|(_, value)| *value).collect();
            values.sort_by(f32::total_cmp);
            assert_eq!(values.len(), expected.len());
            for (value, expected) in values.iter().zip(*expected) {
                assert!((value - expected).abs() < 2e-6, "{values:?}");
            }
        }
    }

    const EXPECTED: [&[f32]; 3] = [
        &[
            0.185408, 0.185408, 0.188353, 0.188353, 0.188353, 0.188353, 0.190997, 0.251138, 0.251138, 0.404232,
            0.425213, 0.531517,
        ],
        &[0.274003, 0.274003, 0.278356, 0.278356, 0.282263, 0.352828, 0.371142, 0.371142, 0.463927],
        &[0.255641, 0.255641, 0.259702, 0.259702, 0.34627, 0.34627, 0.34627, 0.432837, 0.432837],
    ];
}
