//! What a round trains: a linear model, and a network where one is worth trying. The better one is
//! the candidate.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use classifier::Classifier;
use classifier::checkpoint::Manifest;
use tokio_util::sync::CancellationToken;

use super::lease::Reporter;
use super::metrics::Metrics;
use crate::base::Base;
use crate::dataset::Dataset;
use crate::fit::{Progress, fit};
use crate::from_scratch::{ENOUGH, not_worth_trying};
use crate::linear::{LinearSettings, fit_linear};
use crate::network_or_linear::{Proof, choose};
use crate::settings::Settings;

/// Everything that a training needs.
pub(super) struct Fitting {
    pub settings: Settings,
    pub base: Base,
    pub dataset: Dataset,
    /// Where finished models and the state of the training stand: what is there already is not
    /// trained again.
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
    /// Why the linear model is the candidate, where a network was trained.
    pub reason: Option<String>,
}

impl Fitting {
    /// Fits a linear model and trains a network, if one is worth trying; the better one is the
    /// candidate.
    pub fn run(self) -> Result<Fitted> {
        fs::create_dir_all(&self.directory).with_context(|| format!("{}: cannot be made", self.directory.display()))?;
        let linear = self.linear()?;
        let Some((base, proof)) = self.network_base() else {
            return Ok(Fitted { candidate: linear, baseline: None, reason: None });
        };
        let network = self.network(&base)?;
        let names = ("network", "linear model");
        let choice = choose(names, &self.right(&network)?, &self.right(&linear)?, proof);
        tracing::info!(network = choice.takes_over, reason = choice.reason, "the candidate is chosen");
        Ok(if choice.takes_over {
            Fitted { candidate: network, baseline: Some(linear), reason: None }
        } else {
            Fitted { candidate: linear, baseline: None, reason: Some(choice.reason) }
        })
    }

    fn linear(&self) -> Result<PathBuf> {
        let directory = self.directory.join("linear");
        if !is_finished(&directory)? {
            self.reporter.phase("fitting the linear model");
            fit_linear(&LinearSettings { threads: self.settings.options.threads }, &self.dataset, &directory)?;
        }
        Ok(directory)
    }

    /// What a network starts from, and what it has to show.
    fn network_base(&self) -> Option<(Base, Proof)> {
        match &self.base {
            Base::NewLinear => None,
            Base::New => {
                not_worth_trying(&self.dataset, None, &ENOUGH).is_none().then_some((Base::NewBert, Proof::Better))
            }
            base => Some((base.clone(), Proof::NotWorse)),
        }
    }

    fn network(&self, base: &Base) -> Result<PathBuf> {
        let directory = self.directory.join("network");
        if !is_finished(&directory)? {
            self.reporter.phase("training");
            let mut settings = self.settings.clone();
            settings.options.state = Some(self.directory.join("training"));
            fit(&settings, &self.dataset, base, &directory, &mut |progress| self.watch(progress))?;
        }
        Ok(directory)
    }

    /// Which validation texts a model labels right. It may know the classes in another order than
    /// the dataset.
    fn right(&self, directory: &Path) -> Result<Vec<bool>> {
        let Dataset { classes, valid, .. } = &self.dataset;
        let model = Classifier::open(directory, &self.settings.options.device.open()?)?;
        let texts: Vec<&str> = valid.iter().map(|example| example.text.as_str()).collect();
        let answers = model.classify(&texts)?;
        let answers = answers.iter().map(|answer| model.classes().name(answer.best().0));
        Ok(answers.zip(valid).map(|(answer, example)| answer == classes[example.label]).collect())
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
