//! A linear classifier of n-grams, fitted in seconds: what a network has to beat, and what serves until one does.
//!
//! ```text
//! vocabulary  texts -> features with their idf, and each text as a row of them
//! solver      rows -> weights (a support vector machine, by dual coordinate descent)
//! sharpness   answers on folds that a model was not fitted on -> probabilities that mean what they say
//! ```
//!
//! The constants are those of `bench/results/2026-11-22-budgets.md`, where what each is worth is recorded.

mod sharpness;
mod solver;
mod vocabulary;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use classifier::linear::{LinearModel, LinearWeights, MAX_UNITS, MODEL_TYPE, NgramRange};
use classifier::{Classifier, Labels};
use serde::Serialize;
use serde_json::{Value, json};

use crate::dataset::{Dataset, Example};
use crate::evaluate::evaluate;
use crate::metrics::Evaluation;
use crate::parallel;
use vocabulary::{Text, Vocabulary};

/// The features: a word or character, and runs of two and three.
const RANGE: NgramRange = NgramRange(1, 3);

/// What an error on a training text costs beside the length of the weights: LIBLINEAR's `C`.
const COST: f64 = 0.3;

/// Parts of the training texts, each answered by a model that was fitted on the others.
const FOLDS: usize = 5;

/// Training texts below which folds would say nothing of the probabilities.
const FEW: usize = 4 * FOLDS;

/// Training texts at which half of the classes' imbalance is evened out. With few, a class that is rare would hardly ever be
/// answered; with many, that it is rare is evidence.
const EVEN_AT: f64 = 10_000.0;

/// How a linear classifier is fitted. The result does not depend on the number of threads.
#[derive(Debug, Clone, Serialize)]
pub struct LinearSettings {
    /// Threads that the folds are spread over.
    pub threads: usize,
}

impl Default for LinearSettings {
    fn default() -> Self {
        Self { threads: std::thread::available_parallelism().map_or(1, Into::into) }
    }
}

/// What fitting a linear classifier came to.
#[derive(Debug, Clone, Serialize)]
pub struct LinearSummary {
    /// The checkpoint that was written.
    pub checkpoint: PathBuf,
    /// Its SHA-256: that of its manifest.
    pub manifest_sha256: String,
    /// Training texts.
    pub examples: usize,
    /// Different n-grams of the training texts.
    pub features: usize,
    /// Names of the classes, in the order of the model's outputs.
    pub labels: Vec<String>,
    /// How well it does on the validation texts; absent where there are none.
    pub evaluation: Option<Evaluation>,
    /// How long it took.
    pub seconds: f64,
}

/// Fits a linear classifier on the training examples and writes it to `out`.
///
/// # Errors
/// No examples, or an `out` that exists.
pub fn fit_linear(settings: &LinearSettings, dataset: &Dataset, out: &Path) -> Result<LinearSummary> {
    ensure!(!out.exists(), "{}: exists already; give another --out, or remove it", out.display());
    let started = Instant::now();
    let model = learn(settings, dataset)?;
    let features = model.weights().features.len();
    let classifier = Classifier::linear(model.clone());
    let evaluation = (!dataset.valid.is_empty()).then(|| evaluate(&classifier, &dataset.valid)).transpose()?;
    save(&model, settings, evaluation.as_ref(), out)?;
    Ok(LinearSummary {
        checkpoint: out.to_owned(),
        manifest_sha256: classifier::checkpoint::Manifest::sha256(out)?,
        examples: dataset.train.len(),
        features,
        labels: dataset.labels.clone(),
        evaluation,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Writes a classifier with what its manifest says besides the files.
pub(crate) fn save(
    model: &LinearModel,
    settings: &LinearSettings,
    evaluation: Option<&Evaluation>,
    out: &Path,
) -> Result<()> {
    let Value::Object(extra) = json!({ "kind": MODEL_TYPE, "metrics": evaluation, "settings": settings }) else {
        unreachable!("an object literal is an object: anything else is a bug")
    };
    model.save(out, extra)?;
    Ok(())
}

/// The classifier itself, in memory.
pub(crate) fn learn(settings: &LinearSettings, dataset: &Dataset) -> Result<LinearModel> {
    ensure!(!dataset.train.is_empty(), "there is no text to learn from");
    let task = Task { labels: Labels::new(&dataset.labels), examples: &dataset.train };
    let texts = vocabulary::read(&dataset.train);
    if texts.len() < FEW {
        return sharpened(&task.separate(&texts, &|_| true)?, sharpness::USUAL);
    }

    let folds = folds(&dataset.train, dataset.labels.len());
    // What a fold leaves out; the last one leaves out nothing and is the model.
    let jobs = (0..=FOLDS).collect();
    let mut models =
        parallel::map(settings.threads, jobs, |_| 1, |fold| task.separate(&texts, &|text| folds[text] != fold))?;
    let model = models.pop().context("a job without a result is a bug")?;
    let mut answers = Vec::with_capacity(texts.len());
    for (fold, model) in models.iter().enumerate() {
        let left_out: Vec<&Example> =
            dataset.train.iter().zip(&folds).filter(|(_, of)| **of == fold).map(|(example, _)| example).collect();
        let texts: Vec<&str> = left_out.iter().map(|example| example.text.as_str()).collect();
        let predictions = model.classify(&texts, MAX_UNITS)?;
        answers.extend(
            predictions.into_iter().zip(left_out).map(|(prediction, example)| (prediction.scores, example.label)),
        );
    }
    sharpened(&model, sharpness::of(&answers))
}

/// A fold for each example, so that each has its share of every class.
fn folds(examples: &[Example], classes: usize) -> Vec<usize> {
    let mut seen = vec![0; classes];
    let fold = |example: &Example| {
        seen[example.label] += 1;
        seen[example.label] % FOLDS
    };
    examples.iter().map(fold).collect()
}

/// What is fitted on.
struct Task<'a> {
    labels: Labels,
    examples: &'a [Example],
}

impl Task<'_> {
    /// The model that is fitted on the examples that `is_in` takes by index.
    fn separate(&self, texts: &[Text], is_in: &dyn Fn(usize) -> bool) -> Result<LinearModel> {
        let (texts, truth): (Vec<&Text>, Vec<usize>) = texts
            .iter()
            .zip(self.examples)
            .enumerate()
            .filter(|(index, _)| is_in(*index))
            .map(|(_, (text, example))| (text, example.label))
            .unzip();
        let vocabulary = Vocabulary::of(&texts);
        let rows = vocabulary.rows(&texts);
        let classes = self.labels.len();
        let costs = costs(&truth, classes);
        let one_against_rest = |class: usize| {
            let signs: Vec<f64> = truth.iter().map(|truth| if *truth == class { 1.0 } else { -1.0 }).collect();
            solver::separate(&rows, &signs, &costs)
        };
        let (bias, columns): (Vec<f64>, Vec<Vec<f64>>) = if classes == 2 {
            // One against the other is the same twice: half of it each way.
            let second = one_against_rest(1);
            let half =
                |factor: f64| (second.bias * factor, second.weights.iter().map(|weight| weight * factor).collect());
            [half(-0.5), half(0.5)].into_iter().unzip()
        } else {
            (0..classes).map(one_against_rest).map(|plane| (plane.bias, plane.weights)).unzip()
        };
        let features = vocabulary.features.len();
        let weight = (0..features).flat_map(|feature| columns.iter().map(move |column| column[feature] as f32));
        let weights = LinearWeights {
            weight: weight.collect(),
            features: vocabulary.features,
            idf: vocabulary.idf,
            bias: bias.into_iter().map(|bias| bias as f32).collect(),
        };
        Ok(LinearModel::new(self.labels.clone(), RANGE, weights)?)
    }
}

/// What an error on each example costs: more in rare classes.
fn costs(truth: &[usize], classes: usize) -> Vec<f64> {
    let mut counts = vec![0.0; classes];
    truth.iter().for_each(|class| counts[*class] += 1.0);
    let total = truth.len() as f64;
    let evenness = 1.0 / (1.0 + total / EVEN_AT);
    truth.iter().map(|class| COST * (total / (classes as f64 * counts[*class])).powf(evenness)).collect()
}

/// The same model with its sums multiplied, so that it answers the same with other probabilities.
fn sharpened(model: &LinearModel, sharpness: f32) -> Result<LinearModel> {
    let mut weights = model.weights().clone();
    weights.weight.iter_mut().chain(&mut weights.bias).for_each(|weight| *weight *= sharpness);
    Ok(LinearModel::new(model.labels().clone(), model.range(), weights)?)
}
