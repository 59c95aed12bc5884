//! Labels to the dataset of a round: the newest label of each text, dealt out to three parts for
//! good.
//!
//! A text's part hangs on nothing but the key of the earliest labeled text that it nearly copies
//! (its own, mostly), so it never changes: a text that a model was once measured on is never
//! learned from, by that model or a later one. A text that nearly copies texts of two parts is left
//! out, so that no near-copy stands on two sides.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::class_names::refuse_alike_labels;
use crate::dataset::{Dataset, Example, sort_labels};
use crate::near_copies::near_copies;
use crate::prepare::{key, normalize};
use crate::warnings;

/// What a person said of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labeled {
    /// Counts up with the labels.
    pub id: i64,
    /// The review, where it has an id.
    pub review_id: Option<String>,
    /// The text.
    pub text: String,
    /// Its label.
    pub label: String,
    /// When that was said.
    pub labeled_at: DateTime<Utc>,
}

/// How labels become a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Split {
    /// Share of the texts that are held out to compare models.
    pub held_out: f64,
    /// Share of the others that choose the best step of a training.
    pub valid: f64,
    /// Labels that a class must have before a model learns it.
    pub min_per_class: usize,
}

impl Default for Split {
    fn default() -> Self {
        Self { held_out: 0.2, valid: 0.1, min_per_class: 10 }
    }
}

/// The dataset of a round.
#[derive(Debug, Clone)]
pub struct RoundDataset {
    /// What is learned from, and what chooses the best step.
    pub dataset: Dataset,
    /// Of each training text the id of its first label: a model of earlier labels has not seen it.
    pub first_labels: Vec<i64>,
    /// What models are compared on; no model has ever learned from these texts.
    pub held_out: Vec<Example>,
    /// SHA-256 of classes, parts, labels and texts, in hex.
    pub fingerprint: String,
    /// What became of the labels.
    pub counts: Counts,
    /// What a person should know of them.
    pub warnings: Vec<String>,
}

/// What became of the labels of a round.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All labels there are.
    pub labels: usize,
    /// Older labels of a review or a text that has a newer one.
    pub superseded: usize,
    /// Labels of texts without a visible character.
    pub without_text: usize,
    /// Texts that nearly copy texts of two parts.
    pub between_parts: usize,
    /// Texts of classes that the model does not have, by class: they wait for a new base.
    pub waiting: BTreeMap<String, usize>,
    /// Texts to learn from.
    pub train: usize,
    /// Texts that choose the best step.
    pub valid: usize,
    /// Texts that models are compared on.
    pub held_out: usize,
}

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Part {
    Train,
    Valid,
    HeldOut,
}

/// Which classes a round is about.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundClasses<'a> {
    /// Those of the champion, in its order.
    pub champion: Option<&'a [String]>,
    /// Those of a new base, where somebody has named them.
    pub wanted: Option<&'a [String]>,
}

/// The dataset of a round. Its classes are the wanted ones, else the champion's; where there is
/// neither, every class that has enough labels is one.
///
/// # Errors
/// Fewer than two classes, or a wanted class that is new and has not enough labels.
pub fn round_dataset(labels: &[Labeled], classes: RoundClasses, split: &Split) -> Result<RoundDataset> {
    let mut labels: Vec<&Labeled> = labels.iter().collect();
    labels.sort_by_key(|label| label.id);
    let mut counts = Counts { labels: labels.len(), ..Counts::default() };
    let parts = Parts::deal(&labels, split);
    let texts = newest_labels(&labels, &mut counts);
    let named = classes.wanted.unwrap_or_default();
    let classes = known_classes(&texts, classes, split.min_per_class)?;

    let (mut train, mut valid, mut held_out) = (Vec::new(), Vec::new(), Vec::new());
    let mut first_labels = Vec::new();
    for (key, label) in &texts {
        let Some(class) = classes.iter().position(|class| *class == label.label) else {
            *counts.waiting.entry(label.label.clone()).or_default() += 1;
            continue;
        };
        let example = Example { text: normalize(&label.text), label: class };
        match parts.of(key) {
            None => counts.between_parts += 1,
            Some(Part::Train) => {
                train.push(example);
                first_labels.push(parts.first_label(key));
            }
            Some(Part::Valid) => valid.push(example),
            Some(Part::HeldOut) => held_out.push(example),
        }
    }
    (counts.train, counts.valid, counts.held_out) = (train.len(), valid.len(), held_out.len());
    ensure!(!train.is_empty(), "there is no text to learn from");
    let dataset = Dataset { classes, train, valid, lessons: None };
    // Of a text the newest label counts; that people disagreed is worth a word all the same.
    let said = labels.iter().filter(|label| !key(&label.text).is_empty());
    let contradictions = warnings::of_texts(said.map(|label| (label.text.as_str(), label.label.as_str())));
    let alike = refuse_alike_labels(labels.iter().map(|label| (label.id as u64, label.label.as_str())), named);
    let alike = alike.err().map(|error| error.to_string().replace("on line", "of label"));
    let warnings = warnings::of_dataset(&dataset).into_iter().chain(contradictions).chain(alike).collect();
    Ok(RoundDataset {
        fingerprint: fingerprint(&dataset, &held_out),
        dataset,
        first_labels,
        held_out,
        counts,
        warnings,
    })
}

/// The parts of all texts by key, whatever their labels are and will be, and the ids of their first
/// labels.
struct Parts(HashMap<String, (Option<Part>, i64)>);

impl Parts {
    /// Deals out the texts in the order in which they were first labeled.
    fn deal(labels: &[&Labeled], split: &Split) -> Self {
        let mut parts = HashMap::new();
        let mut keys: Vec<String> = Vec::new();
        for label in labels {
            let key = key(&label.text);
            if !key.is_empty() && !parts.contains_key(&key) {
                parts.insert(key.clone(), (None, label.id));
                keys.push(key);
            }
        }
        let mut dealt: Vec<Option<Part>> = Vec::with_capacity(keys.len());
        for (key, copied) in keys.iter().zip(near_copies(&keys)) {
            // A text that stands in no part is in nobody's way.
            let mut others = copied.into_iter().filter_map(|earlier| dealt[earlier]);
            let part = match others.next() {
                None => Some(part_of_key(key, split)),
                Some(part) => others.all(|other| other == part).then_some(part),
            };
            parts.entry(key.clone()).and_modify(|held| held.0 = part);
            dealt.push(part);
        }
        Self(parts)
    }

    fn of(&self, key: &str) -> Option<Part> {
        self.0.get(key).and_then(|(part, _)| *part)
    }

    fn first_label(&self, key: &str) -> i64 {
        self.0.get(key).map_or(0, |(_, id)| *id)
    }
}

/// By two independent hashes, so that a greater share only ever adds texts to its part.
fn part_of_key(key: &str, split: &Split) -> Part {
    let fraction = |purpose: &str| {
        let hash: [u8; 32] = Sha256::new().chain_update(purpose).chain_update([0]).chain_update(key).finalize().into();
        let head = hash.first_chunk().expect("a SHA-256 has more than eight bytes: anything else is a bug");
        u64::from_be_bytes(*head) as f64 / u64::MAX as f64
    };
    if fraction("held out") < split.held_out {
        Part::HeldOut
    } else if fraction("validation") < split.valid {
        Part::Valid
    } else {
        Part::Train
    }
}

/// The newest label of each review, and of those the newest of each text, by key.
fn newest_labels<'a>(labels: &[&'a Labeled], counts: &mut Counts) -> BTreeMap<String, &'a Labeled> {
    let mut by_review: HashMap<&str, &Labeled> = HashMap::new();
    let mut newest = Vec::new();
    for label in labels {
        match &label.review_id {
            None => newest.push(*label),
            Some(review) => keep_newer(&mut by_review, review.as_str(), label, counts),
        }
    }
    newest.extend(by_review.into_values());
    let mut by_text = BTreeMap::new();
    newest.sort_by_key(|label| label.id);
    for label in newest {
        let key = key(&label.text);
        if key.is_empty() {
            counts.without_text += 1;
            continue;
        }
        match by_text.get_mut(&key) {
            None => {
                by_text.insert(key, label);
            }
            Some(other) => {
                counts.superseded += 1;
                *other = newer(other, label);
            }
        }
    }
    by_text
}

fn keep_newer<'a>(
    by_review: &mut HashMap<&'a str, &'a Labeled>,
    review: &'a str,
    label: &'a Labeled,
    counts: &mut Counts,
) {
    let newest = by_review.entry(review).or_insert(label);
    if newest.id != label.id {
        counts.superseded += 1;
        *newest = newer(newest, label);
    }
}

fn newer<'a>(one: &'a Labeled, other: &'a Labeled) -> &'a Labeled {
    if (other.labeled_at, other.id) > (one.labeled_at, one.id) { other } else { one }
}

fn known_classes(texts: &BTreeMap<String, &Labeled>, classes: RoundClasses, least: usize) -> Result<Vec<String>> {
    let count = |class: &str| texts.values().filter(|label| label.label == class).count();
    let Some(names) = classes.wanted.or(classes.champion) else {
        let mut found = sort_labels(texts.values().map(|label| label.label.as_str()));
        found.retain(|class| count(class) >= least);
        ensure!(
            found.len() >= 2,
            "a model needs two classes with {least} labeled texts or more, there are {}",
            found.len()
        );
        return Ok(found);
    };
    let is_new = |class: &&String| !classes.champion.is_some_and(|champion| champion.contains(*class));
    for class in names.iter().filter(is_new) {
        let texts = count(class);
        ensure!(texts >= least, "the new class {class:?} has {texts} labeled texts, {least} are needed");
    }
    Ok(names.to_vec())
}

fn fingerprint(dataset: &Dataset, held_out: &[Example]) -> String {
    let mut hash = Sha256::new();
    let mut write = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    for class in &dataset.classes {
        write(class);
    }
    for examples in [&dataset.train[..], &dataset.valid, held_out] {
        write(&examples.len().to_string());
        for example in examples {
            write(&example.label.to_string());
            write(&example.text);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
