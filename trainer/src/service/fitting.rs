//! What a round trains: a candidate, and the linear model that a network has to beat.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use classifier::checkpoint::Manifest;
use classifier::{Classifier, Device, ModelKind};
use tokio_util::sync::CancellationToken;

use super::lease::Reporter;
use super::metrics::Metrics;
use crate::dataset::Dataset;
use crate::fit::Progress;
use crate::fresh::train;
use crate::linear::{LinearSettings, fit_linear};
use crate::settings::{Base, Settings};

/// Everything that a training needs.
pub(super) struct Fitting {
    pub settings: Settings,
    pub base: Base,
    pub dataset: Dataset,
    /// Where finished models and the state of the training stand: what is there already is not trained again.
    pub directory: PathBuf,
    pub reporter: Reporter,
    pub metrics: Arc<Metrics>,
    pub stop: CancellationToken,
}

/// The directories of what was trained.
#[derive(Debug, Clone)]
pub(super) struct Fitted {
    pub candidate: PathBuf,
    /// The linear model, where the candidate is a network.
    pub baseline: Option<PathBuf>,
}

impl Fitting {
    pub fn run(self) -> Result<Fitted> {
        fs::create_dir_all(&self.directory).with_context(|| format!("{}: cannot be made", self.directory.display()))?;
        let candidate = self.directory.join("candidate");
        if !is_finished(&candidate)? {
            self.reporter.phase("training");
            let settings = Settings { state: Some(self.directory.join("training")), ..self.settings.clone() };
            train(&settings, &self.dataset, &self.base, &candidate, &mut |progress| self.watch(progress))?;
        }
        if Classifier::open(&candidate, &Device::Cpu)?.kind() == ModelKind::Linear {
            return Ok(Fitted { candidate, baseline: None });
        }
        let baseline = self.directory.join("baseline");
        if !is_finished(&baseline)? {
            self.reporter.phase("linear baseline");
            fit_linear(&LinearSettings { threads: self.settings.threads }, &self.dataset, &baseline)?;
        }
        Ok(Fitted { candidate, baseline: Some(baseline) })
    }

    /// Reports every step, and ends a training that nobody waits for any more.
    fn watch(&self, progress: &Progress) -> Result<()> {
        match progress {
            Progress::Started(head) => {
                self.metrics.round_steps.set(head.optimization_steps as i64);
                tracing::info!(texts = head.examples, steps = head.optimization_steps, "the training begins");
            }
            Progress::Stepped { step, loss, .. } => {
                self.metrics.round_step.set(*step as i64);
                self.reporter.step("training", *step, self.metrics.round_steps.get() as usize, *loss);
            }
            Progress::Evaluated { step, evaluation, best } => {
                tracing::info!(step, accuracy = evaluation.accuracy, best, "evaluated on the validation texts");
            }
            Progress::Resumed { step } => tracing::info!(step, "the training goes on where it was"),
        }
        ensure!(!self.stop.is_cancelled(), "the round was stopped");
        Ok(())
    }
}

/// Whether a model stands there whole; what is not whole is removed.
fn is_finished(directory: &Path) -> Result<bool> {
    if !directory.exists() {
        return Ok(false);
    }
    let finished = Manifest::verify(directory).is_ok();
    if !finished {
        fs::remove_dir_all(directory).with_context(|| format!("{}: cannot be removed", directory.display()))?;
    }
    Ok(finished)
}
