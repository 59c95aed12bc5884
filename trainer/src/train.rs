//! One entry to every kind of training.

use std::path::Path;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::base::Base;
use crate::dataset::Dataset;
use crate::fit::{Summary, fit};
use crate::from_scratch::{ENOUGH, FromScratchSummary, train_from_scratch};
use crate::linear::{LinearSettings, LinearSummary, fit_linear};
use crate::metrics::Evaluation;
use crate::pretrained::Pretrained;
use crate::progress::Watch;
use crate::settings::Settings;
use crate::warnings;

/// What a training came to, whichever kind of model it was.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Trained {
    /// A BERT.
    Network(Box<Summary>),
    /// A linear model.
    Linear(LinearSummary),
    /// The better of both.
    FromScratch(Box<FromScratchSummary>),
}

impl Trained {
    /// The checkpoint that was written.
    pub fn checkpoint(&self) -> &Path {
        match self {
            Self::Network(summary) => &summary.checkpoint,
            Self::Linear(summary) => &summary.checkpoint,
            Self::FromScratch(summary) => &summary.checkpoint,
        }
    }

    /// The SHA-256 of its manifest.
    pub fn manifest_sha256(&self) -> &str {
        match self {
            Self::Network(summary) => &summary.manifest_sha256,
            Self::Linear(summary) => &summary.manifest_sha256,
            Self::FromScratch(summary) => &summary.manifest_sha256,
        }
    }

    /// How well it does on the validation texts; absent where there are none.
    pub fn evaluation(&self) -> Option<&Evaluation> {
        match self {
            Self::Network(summary) => summary.evaluation.as_ref(),
            Self::Linear(summary) => summary.evaluation.as_ref(),
            Self::FromScratch(summary) => summary.evaluation.as_ref(),
        }
    }

    /// What a person should know before trusting it.
    pub fn warnings(&self) -> Vec<String> {
        self.evaluation().map_or_else(Vec::new, warnings::of_evaluation)
    }
}

/// Trains from any base and writes the checkpoint to `out`; from [`Base::New`] with the help of a
/// pretrained encoder where there is one.
///
/// # Errors
/// As [`fit`] and [`fit_linear`].
pub fn train(
    settings: &Settings,
    dataset: &Dataset,
    base: &Base,
    pretrained: Option<&Pretrained>,
    out: &Path,
    progress: &mut Watch,
) -> Result<Trained> {
    ensure!(pretrained.is_none() || *base == Base::New, "a pretrained encoder helps base new alone, not {base}");
    match base {
        Base::New => {
            let summary = train_from_scratch(settings, dataset, pretrained, &ENOUGH, out, progress)?;
            Ok(Trained::FromScratch(Box::new(summary)))
        }
        Base::NewLinear => {
            let settings = LinearSettings { threads: settings.options.threads };
            Ok(Trained::Linear(fit_linear(&settings, dataset, out)?))
        }
        Base::NewBert | Base::Checkpoint(_) => {
            Ok(Trained::Network(Box::new(fit(settings, dataset, base, out, progress)?)))
        }
    }
}
