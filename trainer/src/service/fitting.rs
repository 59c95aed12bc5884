//! What a round trains: a linear model, with a pretrained encoder a student too, and a network
//! where one is worth trying. The best of them is the candidate.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use classifier::Classifier;
use classifier::checkpoint::Manifest;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::copy;
use super::judging::LeftOut;
use super::lease::Reporter;
use super::metrics::Metrics;
use crate::base::Base;
use crate::choice::{Proof, choose};
use crate::copies::{Copies, threads_of_each};
use crate::dataset::Dataset;
use crate::evaluate::measure;
use crate::fit::fit;
use crate::from_scratch::{ENOUGH, network_base, not_worth_trying};
use crate::linear::{self, Answer, LinearSettings};
use crate::pretrained::{Pretrained, Quick};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::tensorboard::EventFile;

/// Everything that a training needs.
pub(super) struct Fitting {
    pub settings: Settings,
    pub base: Base,
    /// What helps [`Base::New`] where labels are few.
    pub pretrained: Option<Pretrained>,
    pub dataset: Dataset,
    /// Processes that train a network together.
    pub processes: usize,
    /// Where an event file for TensorBoard goes.
    pub tensorboard: Option<PathBuf>,
    /// Whether answers to texts that were left out are wanted, since held-out texts are few.
    pub leaves_out: bool,
    /// Where finished models and the state of the training stand: what is there already is not
    /// trained again.
    pub directory: PathBuf,
    pub reporter: Reporter,
    pub metrics: Arc<Metrics>,
    pub stop: CancellationToken,
}

/// The directories of what was trained.
#[derive(Debug, Clone, Default)]
pub(super) struct Fitted {
    pub candidate: PathBuf,
    /// The linear model, where another one is the candidate.
    pub baseline: Option<PathBuf>,
    /// Why it is that one, where there was another.
    pub reason: Option<String>,
    /// What models that were fitted as the candidate was, without a text, say of the text.
    pub left_out: Vec<LeftOut>,
    /// The same of the linear model, where another one is the candidate.
    pub baseline_left_out: Vec<LeftOut>,
    /// How the network learned, where one was trained: the loss of single steps, and the accuracy
    /// on the validation texts where it was measured.
    pub curve: Vec<CurvePoint>,
}

/// A point of a training's curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct CurvePoint {
    step: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
}

/// Points of losses that go on record.
const POINTS: usize = 200;

impl Fitting {
    /// Fits a linear model and perhaps a student, and trains a network, if one is worth trying; the
    /// best of them is the candidate.
    pub fn run(self) -> Result<Fitted> {
        fs::create_dir_all(&self.directory).with_context(|| format!("{}: cannot be made", self.directory.display()))?;
        let (linear, left_out) = self.linear()?;
        let quick = Fitted { candidate: linear.clone(), left_out, ..Fitted::default() };
        let quick = match &self.pretrained {
            Some(pretrained) => self.student(quick, pretrained)?,
            None => quick,
        };
        let Some((base, proof)) = self.network_base() else { return Ok(quick) };
        let (network, curve) = self.network(&base)?;
        let name = if quick.candidate == linear { "linear model" } else { "student" };
        let choice = choose(("network", name), &self.right(&network)?, &self.right(&quick.candidate)?, proof);
        tracing::info!(network = choice.takes_over, reason = choice.reason, "the candidate is chosen");
        Ok(if choice.takes_over {
            Fitted { candidate: network, baseline: Some(linear), curve, ..Fitted::default() }
        } else {
            Fitted { reason: Some(choice.reason), curve, ..quick }
        })
    }

    /// The linear model, and its kind's answers to texts that were left out, where they are wanted.
    fn linear(&self) -> Result<(PathBuf, Vec<LeftOut>)> {
        let directory = self.directory.join("linear");
        let is_finished = is_finished(&directory)?;
        if is_finished && !self.leaves_out {
            return Ok((directory, Vec::new()));
        }
        self.reporter.phase("fitting the linear model");
        let learned = linear::learn(&self.linear_settings(), &self.dataset)?;
        if !is_finished {
            let valid = measure(&learned.classifier(), &self.dataset.valid)?;
            linear::save(&learned.model, valid.evaluation.as_ref(), &directory)?;
        }
        Ok((directory, left_out(&learned.answers)))
    }

    /// The student, if it is no worse than the linear model.
    fn student(&self, linear: Fitted, pretrained: &Pretrained) -> Result<Fitted> {
        let directory = self.directory.join("student");
        is_finished(&directory)?;
        self.reporter.phase("learning from texts without labels");
        let quick = Quick::learn(&self.linear_settings(), &self.dataset, Some(pretrained))?;
        let (student, choice) = quick.student.as_ref().context("an encoder without a student is a bug")?;
        tracing::info!(student = choice.takes_over, reason = choice.reason, "the student is compared");
        let reason = Some(choice.reason.clone());
        if !choice.takes_over {
            return Ok(Fitted { reason, ..linear });
        }
        if !directory.exists() {
            let valid = measure(&student.classifier(), &self.dataset.valid)?;
            linear::save(&student.model, valid.evaluation.as_ref(), &directory)?;
        }
        let left_out = left_out(&student.answers);
        let (baseline, baseline_left_out) = (Some(linear.candidate), linear.left_out);
        Ok(Fitted { candidate: directory, baseline, reason, left_out, baseline_left_out, curve: Vec::new() })
    }

    fn linear_settings(&self) -> LinearSettings {
        LinearSettings { threads: self.settings.options.threads }
    }

    /// What a network starts from, and what it has to show.
    fn network_base(&self) -> Option<(Base, Proof)> {
        match &self.base {
            Base::NewLinear => None,
            Base::New => {
                let pretrained = self.pretrained.as_ref();
                let is_worth_trying = not_worth_trying(&self.dataset, pretrained, &ENOUGH).is_none();
                is_worth_trying.then(|| network_base(pretrained))
            }
            base => Some((base.clone(), Proof::NotWorse)),
        }
    }

    fn network(&self, base: &Base) -> Result<(PathBuf, Vec<CurvePoint>)> {
        let directory = self.directory.join("network");
        let mut curve = Vec::new();
        if !is_finished(&directory)? {
            self.reporter.phase("training");
            let mut settings = self.settings.clone();
            settings.options.state = Some(self.directory.join("training"));
            settings.options.threads = threads_of_each(settings.options.threads, self.processes);
            let copies = copy::start(self.processes, &self.directory, &self.dataset, base, &self.base)?;
            let (replica, copies) = copies.unzip();
            settings.options.replica = replica;
            let mut events = self.tensorboard.as_deref().map(EventFile::create).transpose()?;
            fit(&settings, &self.dataset, base, &directory, &mut |progress| {
                events.as_mut().map_or(Ok(()), |events| events.record(progress))?;
                curve.extend(CurvePoint::of(progress));
                self.watch(progress)
            })?;
            copies.map_or(Ok(()), Copies::finish)?;
        }
        Ok((directory, thinned(curve)))
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

impl CurvePoint {
    fn of(progress: &Progress) -> Option<Self> {
        match progress {
            Progress::Stepped { step, loss, .. } => Some(Self { step: *step, loss: Some(*loss), accuracy: None }),
            Progress::Evaluated { step, evaluation, .. } => {
                Some(Self { step: *step, loss: None, accuracy: Some(evaluation.accuracy) })
            }
            _ => None,
        }
    }
}

/// One loss of so many, and all that was measured.
fn thinned(curve: Vec<CurvePoint>) -> Vec<CurvePoint> {
    let every = curve.len().div_ceil(POINTS).max(1);
    let kept = curve.into_iter().enumerate();
    kept.filter(|(number, point)| number % every == 0 || point.accuracy.is_some()).map(|(_, point)| point).collect()
}

fn left_out(answers: &[Answer]) -> Vec<LeftOut> {
    answers.iter().map(|answer| LeftOut { index: answer.index, class: answer.prediction.best().0 }).collect()
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
