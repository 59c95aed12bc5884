//! A linear classifier of n-grams, fitted in seconds: what a network has to beat, and what serves
//! until one does.
//!
//! ```text
//! vocabulary  texts -> features with their idf, and each text as a row of them
//! planes      rows and their classes -> a plane for each class, and a model
//! solver      rows and their sides -> one plane (a support vector machine)
//! folds       texts -> answers of models that were not fitted on them
//! calibration such answers -> probabilities that hold
//! student     few labels, many texts without, a pretrained encoder -> a better model of the kind
//! ```
//!
//! The constants are those of `bench/results/2026-11-22-budgets.md`, where what each is worth is
//! recorded.

mod calibration;
mod folds;
mod planes;
mod solver;
pub(crate) mod student;
mod vocabulary;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use classifier::linear::{LinearModel, MODEL_TYPE, NgramRange};
use classifier::{Classes, Classifier, Prediction};
use serde::Serialize;
use serde_json::{Value, json};

use crate::dataset::{Dataset, Example};
use crate::evaluate::evaluate;
use crate::gate::Paired;
use crate::metrics::Evaluation;
use planes::{Said, costs};
use vocabulary::{Text, Vocabulary};

/// The features: a word or character, and runs of two and three.
const RANGE: NgramRange = NgramRange(1, 3);

/// What an error on a training text costs beside the length of the weights: LIBLINEAR's `C`.
const COST: f64 = 0.3;

/// What it costs where that is clearly better on the folds: where words are units, many of them
/// rare, as in English.
const DEAR: f64 = 1.0;

/// How probable a lead like that of [`DEAR`] may be by chance alone.
const CHANCE: f64 = 0.05;

/// Training texts below which folds would say nothing of the probabilities.
const FEW: usize = 4 * folds::FOLDS;

/// How a linear classifier is fitted. The result does not depend on the number of threads.
#[derive(Debug, Clone)]
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
    let Learned { model, .. } = learn(settings, dataset)?;
    let features = model.weights().features.len();
    let classifier = Classifier::linear(model.clone());
    let evaluation = (!dataset.valid.is_empty()).then(|| evaluate(&classifier, &dataset.valid)).transpose()?;
    save(&model, evaluation.as_ref(), out)?;
    Ok(LinearSummary {
        checkpoint: out.to_owned(),
        manifest_sha256: classifier::checkpoint::Manifest::sha256(out)?,
        examples: dataset.train.len(),
        features,
        labels: dataset.classes.clone(),
        evaluation,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Writes a classifier with what its manifest says besides the files.
pub(crate) fn save(model: &LinearModel, evaluation: Option<&Evaluation>, out: &Path) -> Result<()> {
    let Value::Object(extra) = json!({ "kind": MODEL_TYPE, "metrics": evaluation }) else {
        unreachable!("an object literal is an object: anything else is a bug")
    };
    model.save(out, extra)?;
    Ok(())
}

/// A classifier in memory.
pub(crate) struct Learned {
    pub model: LinearModel,
    /// What models that were fitted as it was, on the other folds, say of the training texts, fold
    /// by fold; empty where there are too few texts for that.
    pub answers: Vec<Answer>,
}

impl Learned {
    /// Ready to label.
    pub fn classifier(&self) -> Classifier {
        Classifier::linear(self.model.clone())
    }
}

/// The classifier itself, in memory.
pub(crate) fn learn(settings: &LinearSettings, dataset: &Dataset) -> Result<Learned> {
    ensure!(!dataset.train.is_empty(), "there is no text to learn from");
    if let Some(lessons) = &dataset.lessons {
        return student::learn_of_lessons(settings, dataset, lessons);
    }
    let task = Task {
        classes: Classes::new(&dataset.classes),
        examples: &dataset.train,
        texts: vocabulary::read(dataset.train.iter().map(|example| example.text.as_str())),
    };
    if dataset.train.len() < FEW {
        let model = calibrated(&task.separate(&|_| true, COST)?, calibration::USUAL)?;
        return Ok(Learned { model, answers: Vec::new() });
    }
    let answers =
        |cost| folds::answers(&dataset.train, &task.classes, settings.threads, |is_in| task.separate(is_in, cost));
    let (usual, dear) = (answers(COST)?, answers(DEAR)?);
    let is_better = Paired::new(&right(&dear), &right(&usual), None).p_better < CHANCE;
    let (cost, answers) = if is_better { (DEAR, dear) } else { (COST, usual) };
    let model = calibrated(&task.separate(&|_| true, cost)?, calibration::factor(&answers))?;
    Ok(Learned { model, answers })
}

/// What models say of each training text that were fitted on the other folds, with probabilities
/// that hold; `vectors` of the texts are features too. Nothing where there are too few texts for
/// folds.
pub(crate) fn out_of_fold(
    settings: &LinearSettings,
    dataset: &Dataset,
    vectors: Option<Vec<Vec<f32>>>,
) -> Result<Vec<(usize, Prediction)>> {
    let answers = match vectors {
        Some(vectors) => student::of_teachers(settings, dataset, vectors)?,
        None => learn(settings, dataset)?.answers,
    };
    let factor = calibration::factor(&answers);
    let calibrated = |answer: Answer| {
        let scores = answer.prediction.scores.iter();
        let logits: Vec<f32> = scores.map(|score| score.max(f32::MIN_POSITIVE).ln() * factor).collect();
        (answer.index, Prediction::from_logits(&logits))
    };
    Ok(answers.into_iter().map(calibrated).collect())
}

/// What a model's logits are to be divided by for its probabilities to hold, by its answers to
/// texts that it has not learned from: predictions with the true classes.
pub(crate) fn temperature(answers: impl IntoIterator<Item = (Prediction, usize)>) -> f64 {
    let answer = |(index, (prediction, truth))| Answer { index, prediction, truth };
    let answers: Vec<Answer> = answers.into_iter().enumerate().map(answer).collect();
    1.0 / f64::from(calibration::factor(&answers))
}

/// Texts as vectors of length 1 over their n-grams: features, numbered from 0, with their values.
pub(crate) fn rows(texts: &[&str]) -> Vec<Vec<(u32, f32)>> {
    let texts = vocabulary::read(texts.iter().copied());
    let vocabulary = Vocabulary::of(&texts.iter().collect::<Vec<_>>());
    texts.iter().map(|text| vocabulary.row(text)).collect()
}

/// Which answers are right.
pub(crate) fn right(answers: &[Answer]) -> Vec<bool> {
    answers.iter().map(|answer| answer.prediction.best().0 == answer.truth).collect()
}

/// What is fitted on.
struct Task<'a> {
    classes: Classes,
    examples: &'a [Example],
    texts: Vec<Text>,
}

impl Task<'_> {
    /// The model that is fitted on the examples that `is_in` takes by index.
    fn separate(&self, is_in: &dyn Fn(usize) -> bool, cost: f64) -> Result<LinearModel> {
        let (texts, truth): (Vec<&Text>, Vec<usize>) = (self.texts.iter().zip(self.examples).enumerate())
            .filter(|(index, _)| is_in(*index))
            .map(|(_, (text, example))| (text, example.label))
            .unzip();
        let vocabulary = Vocabulary::of(&texts);
        let costs = costs(&truth, self.classes.len(), cost);
        let said = truth.iter().zip(costs).enumerate().map(|(row, (&class, cost))| Said { row, class, cost });
        let planes = planes::planes(&vocabulary.rows(&texts), &said.collect::<Vec<_>>(), self.classes.len());
        planes::model(&self.classes, vocabulary, &planes)
    }
}

/// What a model says of a text that it was not fitted on, and what is so.
pub(crate) struct Answer {
    /// The number of the text among the training texts.
    pub index: usize,
    pub prediction: Prediction,
    pub truth: usize,
}

/// The same model with its sums multiplied, so that it answers the same with other probabilities.
fn calibrated(model: &LinearModel, factor: f32) -> Result<LinearModel> {
    let mut weights = model.weights().clone();
    weights.weight.iter_mut().chain(&mut weights.bias).for_each(|weight| *weight *= factor);
    Ok(LinearModel::new(model.classes().clone(), model.range(), weights)?)
}

#[cfg(test)]
mod tests {
    use classifier::checkpoint::Manifest;

    use super::*;
    use crate::random::Random;

    /// Texts of which one character tells the class.
    fn dataset(labels: &[&str], train: usize, valid: usize) -> Dataset {
        let example = |index: usize| {
            let label = index % labels.len();
            let filler: String =
                "送餐很快味道一般".chars().cycle().skip(index * 5 % 8).take(2 + index * 3 % 11).collect();
            Example { text: format!("{filler}{}{filler}", ["好", "差", "中"][label]), label }
        };
        Dataset {
            classes: labels.iter().map(ToString::to_string).collect(),
            train: (0..train).map(example).collect(),
            valid: (train..train + valid).map(example).collect(),
            lessons: None,
        }
    }

    fn fit(settings: &LinearSettings, dataset: &Dataset) -> (tempfile::TempDir, LinearSummary) {
        let directory = tempfile::tempdir().unwrap();
        let summary = fit_linear(settings, dataset, &directory.path().join("out")).unwrap();
        (directory, summary)
    }

    #[test]
    fn what_one_character_decides_is_learned_of_two_classes_and_of_three() {
        for labels in [&["good", "bad"][..], &["good", "bad", "mixed"]] {
            let (_directory, summary) = fit(&LinearSettings::default(), &dataset(labels, 120, 60));
            assert_eq!(summary.evaluation.as_ref().unwrap().accuracy, 1.0, "{summary:?}");
            let manifest = Manifest::verify(&summary.checkpoint).unwrap();
            assert_eq!(manifest.extra["metrics"]["accuracy"], 1.0);
            let classifier = Classifier::open(&summary.checkpoint, &classifier::Device::Cpu).unwrap();
            let answers = classifier.classify(&["味道好", "味道差"]).unwrap();
            let names: Vec<&str> = answers.iter().map(|answer| classifier.classes().name(answer.best().0)).collect();
            assert_eq!(names, ["good", "bad"]);
        }
    }

    #[test]
    fn the_model_is_the_same_on_any_number_of_threads() {
        let data = dataset(&["good", "bad", "mixed"], 90, 10);
        let weights = |threads| {
            let (_directory, summary) = fit(&LinearSettings { threads }, &data);
            std::fs::read(summary.checkpoint.join("model.safetensors")).unwrap()
        };
        assert!(weights(1) == weights(4));
    }

    #[test]
    fn a_handful_of_texts_and_a_class_without_any_give_a_model_all_the_same() {
        let mut data = dataset(&["good", "bad"], 4, 0);
        data.valid = data.train.clone();
        let (_directory, summary) = fit(&LinearSettings::default(), &data);
        assert_eq!(summary.evaluation.unwrap().accuracy, 1.0);
        let mut data = dataset(&["good", "bad"], 60, 10);
        data.classes.push("never".to_owned());
        let (_directory, summary) = fit(&LinearSettings::default(), &data);
        let evaluation = summary.evaluation.unwrap();
        assert_eq!((evaluation.accuracy, evaluation.per_class.len()), (1.0, 3));
    }

    #[test]
    fn probabilities_say_how_often_answers_are_right() {
        let mut data = dataset(&["good", "bad"], 1_000, 1_000);
        let mut random = Random::new(1);
        for example in data.train.iter_mut().chain(&mut data.valid) {
            if random.chance(0.2) {
                example.label = 1 - example.label;
            }
        }
        let (_directory, summary) = fit(&LinearSettings::default(), &data);
        let evaluation = summary.evaluation.unwrap();
        let classifier = Classifier::open(&summary.checkpoint, &classifier::Device::Cpu).unwrap();
        let texts: Vec<&str> = data.valid.iter().map(|example| example.text.as_str()).collect();
        let scores = classifier.classify(&texts).unwrap().iter().map(|answer| f64::from(answer.best().1)).sum::<f64>();
        let mean = scores / texts.len() as f64;
        assert!((mean - evaluation.accuracy).abs() < 0.05, "says {mean}, is {}", evaluation.accuracy);
        assert!(evaluation.accuracy < 0.85, "the labels are not wrong enough to tell: {}", evaluation.accuracy);
    }

    #[test]
    fn what_is_there_already_is_not_overwritten_and_nothing_cannot_be_learned_from() {
        let directory = tempfile::tempdir().unwrap();
        let data = dataset(&["good", "bad"], 30, 0);
        let error = fit_linear(&LinearSettings::default(), &data, directory.path()).unwrap_err().to_string();
        assert!(error.contains("exists already"), "{error}");
        let data = dataset(&["good", "bad"], 0, 5);
        let error =
            fit_linear(&LinearSettings::default(), &data, &directory.path().join("out")).unwrap_err().to_string();
        assert!(error.contains("no text"), "{error}");
    }
}
