//! What helps where labels are few: a pretrained encoder, and texts that nobody has labeled.

use std::path::{Path, PathBuf};

use anyhow::Result;
use classifier::ComposedFamily;

use crate::choice::{Choice, Proof, choose};
use crate::dataset::{Dataset, Example};
use crate::embeddings::Embedder;
use crate::evaluate::measure;
use crate::linear::{self, Learned, LinearSettings, right};
use crate::neighbours::smoothed;
use crate::unlabeled::{new_texts, without_copies};

/// Training texts from which on the encoder is fine-tuned too: with fewer, a student of a hundredth
/// of its cost is as good (`bench/results/2026-11-26-few-labels.md`).
pub(crate) const ENOUGH_TO_TUNE: usize = 2_000;

/// The highest learning rate at which an encoder is fine-tuned, unless a person says it: a small
/// one takes, and needs, more than bert-base. Of one that cannot be read it does not matter.
pub(crate) fn learning_rate(encoder: &Path) -> f64 {
    let config = bert::checkpoint::read_config(encoder);
    let is_small = config.is_ok_and(|config| config.hidden_size <= 512 && config.num_hidden_layers <= 6);
    if is_small { 1.5e-4 } else { 5e-5 }
}

/// A pretrained encoder, and texts without labels.
#[derive(Debug, Clone)]
pub struct Pretrained {
    /// A BERT directory in the HuggingFace layout; it needs no head.
    pub encoder: PathBuf,
    /// The texts.
    pub unlabeled: Vec<String>,
    /// Whether the encoder is tuned on the labels first, which takes a minute or two.
    pub tunes: bool,
    /// A directory where the encoder's vectors are kept for the next training.
    pub cache: Option<PathBuf>,
}

/// The linear model, and the student if there is one.
pub(crate) struct Quick {
    pub linear: Learned,
    pub student: Option<(Learned, Choice)>,
}

impl Quick {
    /// Fits what takes seconds.
    pub fn learn(settings: &LinearSettings, dataset: &Dataset, pretrained: Option<&Pretrained>) -> Result<Self> {
        let linear = linear::learn(settings, dataset)?;
        let Some(pretrained) = pretrained else { return Ok(Self { linear, student: None }) };
        let encoder = Embedder::open(&pretrained.encoder, pretrained.cache.as_deref())?;
        let unlabeled = new_texts(&pretrained.unlabeled, dataset);
        let vectors = |texts: &[&str]| smoothed(encoder.embed(texts)?, dataset.train.len());
        let frozen = linear::student::learn(settings, dataset, &unlabeled, vectors)?;
        let (student, of_tuning) = match pretrained.tunes {
            true => tuned(settings, dataset, &unlabeled, &encoder, frozen)?,
            false => (frozen, String::new()),
        };
        let has_answers = !student.answers.is_empty();
        let answers = |learned: &Learned| {
            let folds = if has_answers { right(&learned.answers) } else { Vec::new() };
            Ok::<_, anyhow::Error>([folds, of_valid(learned, dataset)?].concat())
        };
        let mut choice = choose(("student", "linear model"), &answers(&student)?, &answers(&linear)?, Proof::NotWorse);
        choice.reason.insert_str(0, &of_tuning);
        Ok(Self { linear, student: Some((student, choice)) })
    }

    /// The one that goes on: it is the student only where it is no worse, on texts that neither was
    /// fitted on.
    pub fn best(&self) -> &Learned {
        self.student.as_ref().filter(|(_, choice)| choice.takes_over).map_or(&self.linear, |(student, _)| student)
    }
}

/// The student of the encoder tuned on the labels, unless it is worse on the validation texts than
/// that of the encoder as it is; and why.
fn tuned(
    settings: &LinearSettings,
    dataset: &Dataset,
    unlabeled: &[String],
    encoder: &Embedder,
    frozen: Learned,
) -> Result<(Learned, String)> {
    let (texts, classes): (Vec<&str>, Vec<usize>) =
        dataset.train.iter().map(|example| (example.text.as_str(), example.label)).unzip();
    let encoder = encoder.tuned(&texts, &classes, settings.threads)?;
    let tuned = linear::student::learn_of_tuned(settings, dataset, unlabeled, |texts| encoder.embed(texts))?;
    let names = ("student of the tuned encoder", "other");
    let choice = choose(names, &of_valid(&tuned, dataset)?, &of_valid(&frozen, dataset)?, Proof::NotWorse);
    Ok((if choice.takes_over { tuned } else { frozen }, format!("{}; ", choice.reason)))
}

/// Which validation texts a model has right.
fn of_valid(learned: &Learned, dataset: &Dataset) -> Result<Vec<bool>> {
    Ok(measure(&learned.classifier(), &dataset.valid)?.right)
}

impl Pretrained {
    /// The kind of the encoder, where it is one that is not trained here.
    pub(crate) fn is_frozen(&self) -> Option<&'static str> {
        let kind = bert::checkpoint::model_type(&self.encoder).ok().flatten()?;
        ComposedFamily::of(&kind).map(ComposedFamily::model_type)
    }

    /// The same without the texts that nearly copy one of these, on which models are measured.
    pub(crate) fn without_copies_of<'a>(mut self, measured: impl IntoIterator<Item = &'a Example>) -> Self {
        let measured = measured.into_iter().map(|example| example.text.as_str());
        self.unlabeled = without_copies(self.unlabeled, measured);
        self
    }
}
