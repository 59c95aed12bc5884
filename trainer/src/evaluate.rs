//! A classifier on labeled examples.

use std::time::Instant;

use anyhow::Result;
use classifier::{Classifier, Prediction};

use crate::batches::Sample;
use crate::dataset::Example;
use crate::metrics::Evaluation;

/// Classifies the texts of the examples, whose classes are indices into the classifier's labels.
pub fn evaluate(classifier: &Classifier, examples: &[Example]) -> Result<Evaluation> {
    let (truth, predictions) = classify(classifier, examples)?;
    Ok(compare(classifier, &truth, &predictions))
}

/// How a classifier does, and which examples it labels right.
pub(crate) struct Measured {
    /// Absent where there are no examples.
    pub evaluation: Option<Evaluation>,
    pub right: Vec<bool>,
    /// What one text takes, of all of them together; absent where there are none.
    pub microseconds_per_text: Option<f64>,
}

/// [`evaluate`], and each answer.
pub(crate) fn measure(classifier: &Classifier, examples: &[Example]) -> Result<Measured> {
    let started = Instant::now();
    let (truth, predictions) = classify(classifier, examples)?;
    let took = started.elapsed();
    Ok(Measured {
        evaluation: (!examples.is_empty()).then(|| compare(classifier, &truth, &predictions)),
        right: predictions.iter().zip(truth).map(|(prediction, truth)| prediction.best().0 == truth).collect(),
        microseconds_per_text: (!examples.is_empty()).then(|| took.as_secs_f64() * 1e6 / examples.len() as f64),
    })
}

fn classify(classifier: &Classifier, examples: &[Example]) -> Result<(Vec<usize>, Vec<Prediction>)> {
    let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).collect();
    Ok((examples.iter().map(|example| example.label).collect(), classifier.classify(&texts)?))
}

/// [`evaluate`] for examples that are tokenized already.
pub(crate) fn evaluate_samples(classifier: &Classifier, samples: &[Sample]) -> Result<Evaluation> {
    let texts: Vec<&[u32]> = samples.iter().map(|sample| sample.ids.as_slice()).collect();
    let truth: Vec<usize> = samples.iter().map(|sample| sample.label as usize).collect();
    Ok(compare(classifier, &truth, &classifier.classify_tokens(&texts)?))
}

fn compare(classifier: &Classifier, truth: &[usize], predictions: &[Prediction]) -> Evaluation {
    let scores: Vec<Vec<f32>> = predictions.iter().map(|prediction| prediction.scores.clone()).collect();
    Evaluation::of_scores(classifier.classes().names(), truth, &scores)
}
