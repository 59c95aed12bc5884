//! Labels that are probably wrong: those that models contradict which have not learned them.
//!
//! Confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021): a class is claimed for a text
//! where it is at least as probable as it is on average for the texts that people gave it. A text
//! for which another class than its label is claimed is a suspect; the wider the margin, the
//! likelier.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use store::Label;

use crate::dataset::{Dataset, Example};
use crate::embeddings::Embedder;
use crate::linear::{self, LinearSettings};
use crate::prepare::key;

/// A label that is probably wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Suspect {
    /// The number of the text among the training texts.
    pub index: usize,
    /// The class that is claimed for it.
    pub claimed: usize,
    /// How probable that is.
    pub probability: f32,
    /// How probable its label is.
    pub of_label: f32,
    /// The texts that resemble it most, the nearest first.
    pub nearest: Vec<usize>,
}

/// A pretrained encoder, and where its vectors are kept.
#[derive(Debug, Clone, Copy)]
pub struct Encoder<'a> {
    /// A BERT directory in the HuggingFace layout.
    pub directory: &'a Path,
    /// A directory for its vectors.
    pub cache: Option<&'a PathBuf>,
}

/// Texts that are shown beside a suspect.
const NEAREST: usize = 2;

/// Of each text the newest label.
pub fn newest(labels: Vec<Label>) -> Vec<Label> {
    let mut newest: BTreeMap<String, Label> = BTreeMap::new();
    for label in labels {
        let held = newest.entry(key(&label.text)).or_insert_with(|| label.clone());
        if (label.labeled_at, label.id) > (held.labeled_at, held.id) {
            *held = label;
        }
    }
    newest.into_values().collect()
}

/// Texts with their labels, as training texts in this order.
///
/// # Errors
/// Labels of one class alone.
pub fn dataset<'a>(labeled: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Result<Dataset> {
    let mut classes: Vec<String> = labeled.clone().map(|(_, label)| label.to_owned()).collect();
    classes.sort();
    classes.dedup();
    ensure!(classes.len() >= 2, "labels of two classes are needed, there are {}", classes.len());
    let class = |label: &str| classes.iter().position(|class| class == label).unwrap_or_default();
    let train = labeled.map(|(text, label)| Example { text: text.to_owned(), label: class(label) }).collect();
    Ok(Dataset { train, classes, valid: Vec::new(), lessons: None })
}

/// For each training text the probabilities of its classes, by a model that was fitted on four
/// fifths of the others; its n-grams and, with an encoder, its vector tell.
///
/// # Errors
/// Fewer than twenty texts, or what is wrong with the encoder.
pub fn out_of_fold(dataset: &Dataset, encoder: Option<Encoder<'_>>) -> Result<Vec<Vec<f32>>> {
    let texts: Vec<&str> = dataset.train.iter().map(|example| example.text.as_str()).collect();
    let vectors =
        encoder.map(|encoder| Embedder::open(encoder.directory, encoder.cache.map(PathBuf::as_path))?.embed(&texts));
    let mut answers = linear::out_of_fold(&LinearSettings::default(), dataset, vectors.transpose()?)?;
    ensure!(!answers.is_empty(), "{} labeled texts are too few to contradict one of them", texts.len());
    answers.sort_by_key(|(index, _)| *index);
    Ok(answers.into_iter().map(|(_, prediction)| prediction.scores).collect())
}

/// The suspects among the training texts, the likeliest first. `probabilities` are those of
/// [`out_of_fold`].
pub fn suspects(dataset: &Dataset, probabilities: &[Vec<f32>]) -> Vec<Suspect> {
    let thresholds = thresholds(dataset, probabilities);
    let mut suspects: Vec<Suspect> = (dataset.train.iter().zip(probabilities).enumerate())
        .filter_map(|(index, (example, probabilities))| {
            let claimed = claimed(probabilities, &thresholds)?;
            let (probability, of_label) = (probabilities[claimed], probabilities[example.label]);
            (claimed != example.label && probability > of_label).then(|| Suspect {
                index,
                claimed,
                probability,
                of_label,
                nearest: Vec::new(),
            })
        })
        .collect();
    suspects.sort_by(|one, other| {
        (other.probability - other.of_label)
            .total_cmp(&(one.probability - one.of_label))
            .then(one.index.cmp(&other.index))
    });
    suspects
}

/// Adds to each suspect the texts that resemble it most.
pub fn add_nearest(dataset: &Dataset, suspects: &mut [Suspect]) {
    let texts: Vec<&str> = dataset.train.iter().map(|example| example.text.as_str()).collect();
    let rows = linear::rows(&texts);
    for suspect in suspects {
        let mine: std::collections::HashMap<u32, f32> = rows[suspect.index].iter().copied().collect();
        let alike = |row: &Vec<(u32, f32)>| {
            row.iter().filter_map(|(feature, value)| Some(mine.get(feature)? * value)).sum::<f32>()
        };
        let mut others: Vec<(f32, usize)> = (rows.iter().enumerate())
            .filter(|(index, _)| *index != suspect.index)
            .map(|(index, row)| (alike(row), index))
            .filter(|(alike, _)| *alike > 0.0)
            .collect();
        others.sort_by(|one, other| other.0.total_cmp(&one.0));
        suspect.nearest = others.into_iter().take(NEAREST).map(|(_, index)| index).collect();
    }
}

/// How probable each class is on average for the texts that people gave it.
fn thresholds(dataset: &Dataset, probabilities: &[Vec<f32>]) -> Vec<f32> {
    let of_class = |class: usize| {
        let own = dataset.train.iter().zip(probabilities).filter(|(example, _)| example.label == class);
        let (sum, count) = own.fold((0.0, 0), |(sum, count), (_, of)| (sum + of[class], count + 1));
        if count == 0 { f32::INFINITY } else { sum / count as f32 }
    };
    (0..dataset.classes.len()).map(of_class).collect()
}

/// The most probable of the classes that reach their threshold.
fn claimed(probabilities: &[f32], thresholds: &[f32]) -> Option<usize> {
    let reached = (0..probabilities.len()).filter(|class| probabilities[*class] >= thresholds[*class]);
    reached.reduce(|one, other| if probabilities[other] > probabilities[one] { other } else { one })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(wrong: &[usize]) -> Dataset {
        let example = |index: usize| {
            let filler: String =
                "送餐很快味道一般".chars().cycle().skip(index * 5 % 8).take(2 + index * 3 % 11).collect();
            let label = if wrong.contains(&index) { 1 - index % 2 } else { index % 2 };
            Example { text: format!("{}{filler}", ["好吃", "难吃"][index % 2]), label }
        };
        Dataset {
            classes: ["good", "bad"].map(str::to_owned).to_vec(),
            train: (0..200).map(example).collect(),
            valid: Vec::new(),
            lessons: None,
        }
    }

    #[test]
    fn planted_errors_are_found_before_anything_else_and_their_neighbours_tell() {
        let wrong = [3, 20, 57, 90, 131, 188];
        let dataset = planted(&wrong);
        let mut found = suspects(&dataset, &out_of_fold(&dataset, None).unwrap());
        let mut first: Vec<usize> = found.iter().take(wrong.len()).map(|suspect| suspect.index).collect();
        first.sort_unstable();
        assert_eq!(first, wrong);
        add_nearest(&dataset, &mut found[..1]);
        let suspect = &found[0];
        assert_eq!((suspect.nearest.len(), suspect.claimed), (2, suspect.index % 2));
        assert!(suspect.probability > suspect.of_label);
        assert!(!suspect.nearest.contains(&suspect.index));
    }

    #[test]
    fn a_class_is_claimed_where_it_reaches_its_own_threshold() {
        assert_eq!(claimed(&[0.4, 0.6], &[0.9, 0.7]), None);
        assert_eq!(claimed(&[0.4, 0.6], &[0.3, 0.7]), Some(0));
        assert_eq!(claimed(&[0.4, 0.6], &[0.3, 0.5]), Some(1));
    }

    #[test]
    fn few_texts_contradict_none() {
        let mut few = planted(&[]);
        few.train.truncate(10);
        assert!(out_of_fold(&few, None).unwrap_err().to_string().contains("too few"));
    }
}
