//! Everybody's answers on the same held-out texts, and what the gate says of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use classifier::{Classifier, DeviceChoice, Prediction};
use serde::Serialize;

use super::champion::Champion;
use super::fitting::Fitted;
use super::judging::{Judging, LeftOut, Origins};
use crate::dataset::Example;
use crate::gate::{Answers, Case, Golden, Policy, Verdict, judge};
use crate::labeled_rows::Row;
use crate::linear;
use crate::round_dataset::RoundDataset;

/// What the models are asked, and what the gate asks for.
pub(super) struct Comparison {
    pub dataset: RoundDataset,
    /// How the texts came to be labeled.
    pub origins: Origins,
    pub golden: Vec<Row>,
    pub policy: Policy,
    pub device: DeviceChoice,
}

/// The candidate, and what the gate says of it.
pub(super) struct Compared {
    pub directory: PathBuf,
    pub classes: Vec<String>,
    pub verdict: Verdict,
    /// Held-out texts that it has right with the highest certainty, a few of each class.
    pub certain: Vec<Example>,
    /// What its logits are to be divided by for its scores to be as high as they are right.
    pub temperature: Option<f64>,
    /// Held-out texts that it has wrong, those of which it is surest first.
    pub wrong: Vec<Wrong>,
}

/// A text that a candidate has wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Wrong {
    text: String,
    /// What people say.
    label: String,
    /// What the candidate says.
    said: String,
    /// How probable it finds that.
    score: f32,
}

/// Held-out texts without which nothing is said of scores.
const CALIBRATING: usize = 50;

/// A model that has answered.
struct Answered {
    directory: PathBuf,
    classes: Vec<String>,
    answers: Answers,
    predictions: Vec<Prediction>,
    golden: Vec<Golden>,
}

/// Wrong ones that go on record.
const MOST_WRONG: usize = 30;

/// Texts of each class by which a consumer tests a checkpoint before it serves.
const CERTAIN_PER_CLASS: usize = 3;

impl Comparison {
    /// Lets the candidate, the linear baseline and the champion answer, and the gate judge the
    /// candidate.
    pub fn run(&self, fitted: &Fitted, champion: Option<&Champion>) -> Result<Compared> {
        let knows = champion.map_or(0, |champion| champion.knows);
        let judging = Judging::of(&self.dataset, &self.origins, &fitted.left_out, knows);
        let answer = |directory: &Path, left_out: &[LeftOut]| {
            let mut answered = self.answer(directory, &judging.examples)?;
            // It has learned these texts: models answer for it that have not.
            let said: HashMap<usize, usize> =
                left_out.iter().map(|left_out| (left_out.index, left_out.class)).collect();
            let learned = answered.answers.classes[self.dataset.held_out.len()..].iter_mut();
            learned.zip(&judging.left_out).for_each(|(answer, text)| *answer = said.get(&text.index).copied());
            Ok::<_, anyhow::Error>(answered)
        };
        let candidate = answer(&fitted.candidate, &fitted.left_out)?;
        let baseline = fitted.baseline.as_deref();
        let baseline = baseline.map(|baseline| answer(baseline, &fitted.baseline_left_out)).transpose()?;
        let champion = champion.map(|champion| self.answer(&champion.directory, &judging.examples)).transpose()?;
        let mut compared = self.judge(judging, candidate, baseline, champion);
        if let Some(reason) = &fitted.reason {
            compared.verdict.reason = format!("{} (the linear model: {reason})", compared.verdict.reason);
        }
        Ok(compared)
    }

    fn judge(
        &self,
        judging: Judging,
        model: Answered,
        baseline: Option<Answered>,
        champion: Option<Answered>,
    ) -> Compared {
        let (certain, temperature, wrong) = (self.certain(&model), self.temperature(&model), self.wrong(&model));
        let case = Case {
            classes: self.dataset.dataset.classes.clone(),
            candidate_classes: model.classes.clone(),
            truth: judging.examples.iter().map(|example| example.label).collect(),
            cross_validated: judging.left_out.len(),
            origins: judging.origins,
            candidate: model.answers,
            champion_classes: champion.as_ref().map(|champion| champion.classes.clone()),
            champion: champion.map(|champion| champion.answers),
            baseline: baseline.map(|baseline| baseline.answers),
            golden: model.golden,
        };
        Compared {
            verdict: judge(&case, &self.policy),
            directory: model.directory,
            classes: model.classes,
            certain,
            temperature,
            wrong,
        }
    }

    /// Of the held-out texts.
    fn wrong(&self, model: &Answered) -> Vec<Wrong> {
        let class = |example: &Example| &self.dataset.dataset.classes[example.label];
        let answers = self.dataset.held_out.iter().zip(&model.predictions);
        let mut wrong: Vec<Wrong> = answers
            .map(|(example, prediction)| (example, prediction.best()))
            .map(|(example, (said, score))| Wrong {
                text: example.text.clone(),
                label: class(example).clone(),
                said: model.classes[said].clone(),
                score,
            })
            .filter(|wrong| wrong.said != wrong.label)
            .collect();
        wrong.sort_by(|one, other| other.score.total_cmp(&one.score));
        wrong.truncate(MOST_WRONG);
        wrong
    }

    /// By the held-out texts, if the model has the dataset's classes in their order.
    fn temperature(&self, model: &Answered) -> Option<f64> {
        let held_out = &self.dataset.held_out;
        let is_measured = held_out.len() >= CALIBRATING && model.classes == self.dataset.dataset.classes;
        let answers = model.predictions.iter().cloned().zip(held_out.iter().map(|example| example.label));
        is_measured.then(|| linear::temperature(answers))
    }

    fn answer(&self, directory: &Path, examples: &[Example]) -> Result<Answered> {
        let device = self.device.open().with_context(|| format!("device {}", self.device))?;
        let model = Classifier::open(directory, &device)?;
        model.canary()?;
        let classify = |texts: &[&str]| model.classify(texts);
        let class = |prediction: &Prediction| {
            let name = model.classes().name(prediction.best().0);
            self.dataset.dataset.classes.iter().position(|class| class == name)
        };
        let started = Instant::now();
        let predictions = classify(&texts(examples))?;
        let milliseconds = started.elapsed().as_secs_f64() * 1e3;
        let golden = classify(&self.golden.iter().map(|row| row.text.as_str()).collect::<Vec<_>>())?;
        let golden = self.golden.iter().zip(golden).map(|(row, prediction)| Golden {
            text: row.text.clone(),
            label: row.label.trim().to_owned(),
            answer: model.classes().name(prediction.best().0).to_owned(),
        });
        Ok(Answered {
            directory: directory.to_owned(),
            classes: model.classes().names().to_vec(),
            answers: Answers {
                classes: predictions.iter().map(class).collect(),
                milliseconds_per_text: milliseconds / predictions.len().max(1) as f64,
            },
            predictions,
            golden: golden.collect(),
        })
    }

    /// The texts of each class that the model has right with the highest score; of equal ones the
    /// earlier.
    fn certain(&self, model: &Answered) -> Vec<Example> {
        let mut certain = Vec::new();
        for class in 0..self.dataset.dataset.classes.len() {
            let answers = self.dataset.held_out.iter().zip(&model.answers.classes).zip(&model.predictions);
            let mut right: Vec<(f32, &Example)> = answers
                .filter(|((example, answer), _)| example.label == class && **answer == Some(class))
                .map(|((example, _), prediction)| (prediction.best().1, example))
                .collect();
            right.sort_by(|one, other| other.0.total_cmp(&one.0));
            certain.extend(right.into_iter().take(CERTAIN_PER_CLASS).map(|(_, example)| example.clone()));
        }
        certain
    }
}

fn texts(examples: &[Example]) -> Vec<&str> {
    examples.iter().map(|example| example.text.as_str()).collect()
}
