//! Texts without labels, as far as a training may read them.

use std::collections::HashSet;

use crate::dataset::Dataset;
use crate::near_copies::near_copies;
use crate::random::{Purpose, Random};

/// So many are read at most: more cost a minute, and teach nothing new.
pub(crate) const MOST_TEXTS: usize = 20_000;

/// Those that nearly copy none of the texts on which models are measured.
pub(crate) fn without_copies<'a>(texts: Vec<String>, measured: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<&str> = measured.into_iter().collect();
    let count = all.len();
    all.extend(texts.iter().map(String::as_str));
    let copies = near_copies(&all);
    let copies_none = copies[count..].iter().map(|earlier| earlier.first().is_none_or(|first| *first >= count));
    let copies_none: Vec<bool> = copies_none.collect();
    texts.into_iter().zip(copies_none).filter_map(|(text, is_new)| is_new.then_some(text)).collect()
}

/// Each once, none that has a label here or measures a model, and not too many.
pub(crate) fn new_texts(texts: &[String], dataset: &Dataset) -> Vec<String> {
    let examples = dataset.train.iter().chain(&dataset.valid);
    let mut known: HashSet<&str> = examples.map(|example| example.text.trim()).collect();
    known.insert("");
    let mut texts: Vec<String> = texts.iter().filter(|text| known.insert(text.trim())).cloned().collect();
    if texts.len() > MOST_TEXTS {
        Random::of(0, Purpose::Order, 0).shuffle(&mut texts);
        texts.truncate(MOST_TEXTS);
    }
    texts
}
