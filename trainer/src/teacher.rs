//! A finished classifier that teaches another: what it says of each text, with how sure it is of
//! every class, tells a student more than a label does, and there is no end of texts to say it of
//! (Hinton and others, 2015).

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use classifier::{Classifier, Device, Truncation};

use crate::dataset::Dataset;
use crate::lessons::Lessons;
use crate::near_copies::near_copies;
use crate::pretrained::MOST_TEXTS;
use crate::random::{Purpose, Random};

/// Texts that a teacher reads at once.
const TEXTS_AT_ONCE: usize = 512;

/// A finished classifier, and what it is asked.
#[derive(Debug, Clone)]
pub struct Teacher {
    /// Its checkpoint directory, of any kind.
    pub directory: PathBuf,
    /// Texts without labels, to learn from what it says of them.
    pub unlabeled: Vec<String>,
}

impl Teacher {
    /// The data with what the teacher says of them, and of the texts without labels: each once,
    /// and none that nearly copies a text on which the student is measured.
    ///
    /// # Errors
    /// A directory that does not open, or knows other classes; a text that it cannot read.
    pub fn teach(&self, dataset: Dataset, device: &Device) -> Result<Dataset> {
        let teacher = Classifier::open(&self.directory, device)?;
        let place = |name: &String| {
            let known = teacher.classes().names().join(", ");
            let place = teacher.classes().index(name);
            place.with_context(|| format!("the teacher knows no class {name:?}; it knows {known}"))
        };
        let places: Vec<usize> = dataset.classes.iter().map(place).collect::<Result<_>>()?;
        ensure!(
            places.len() == teacher.classes().len(),
            "the teacher knows {}, and the labels are {}",
            teacher.classes().names().join(", "),
            dataset.classes.join(", ")
        );
        let ask = |texts: &[&str]| {
            let mut said = Vec::with_capacity(texts.len());
            for texts in texts.chunks(TEXTS_AT_ONCE) {
                let asked: Vec<(&str, Truncation)> = texts.iter().map(|text| (*text, Truncation::Right)).collect();
                for logits in teacher.logits(&asked)? {
                    let logits = logits.map_err(|long| anyhow::anyhow!("a text of {long} tokens: a bug"))?;
                    said.push(places.iter().map(|place| logits[*place]).collect::<Vec<f32>>());
                }
            }
            anyhow::Ok(said)
        };
        let of_train = ask(&dataset.train.iter().map(|example| example.text.as_str()).collect::<Vec<_>>())?;
        let texts = self.texts(&dataset);
        let said = ask(&texts.iter().map(String::as_str).collect::<Vec<_>>())?;
        let lessons = Lessons { of_train, unlabeled: texts.into_iter().zip(said).collect() };
        Ok(Dataset { lessons: Some(lessons), ..dataset })
    }

    fn texts(&self, dataset: &Dataset) -> Vec<String> {
        let examples = || dataset.valid.iter().chain(&dataset.train).map(|example| example.text.as_str());
        let mut known: HashSet<&str> = examples().map(str::trim).collect();
        known.insert("");
        let mut texts: Vec<String> = self.unlabeled.iter().filter(|text| known.insert(text.trim())).cloned().collect();
        let measured = dataset.valid.iter().map(|example| example.text.as_str());
        let copies = near_copies(&measured.chain(texts.iter().map(String::as_str)).collect::<Vec<_>>());
        let count = dataset.valid.len();
        let mut copies_none = copies[count..].iter().map(|earlier| earlier.first().is_none_or(|first| *first >= count));
        texts.retain(|_| copies_none.next().unwrap_or_default());
        if texts.len() > MOST_TEXTS {
            Random::of(0, Purpose::Order, 0).shuffle(&mut texts);
            texts.truncate(MOST_TEXTS);
        }
        texts
    }
}
