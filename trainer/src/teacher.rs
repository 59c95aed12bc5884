//! A finished classifier that teaches another: what it says of each text, with how sure it is of
//! every class, tells a student more than a label does, and there is no end of texts to say it of
//! (Hinton and others, 2015).

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use classifier::{Classifier, Device, Truncation};

use crate::dataset::Dataset;
use crate::lessons::Lessons;
use crate::unlabeled::{new_texts, without_copies};

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
        let measured = dataset.valid.iter().map(|example| example.text.as_str());
        let texts = without_copies(new_texts(&self.unlabeled, &dataset), measured);
        let said = ask(&texts.iter().map(String::as_str).collect::<Vec<_>>())?;
        let lessons = Lessons { of_train, unlabeled: texts.into_iter().zip(said).collect() };
        Ok(Dataset { lessons: Some(lessons), ..dataset })
    }
}
