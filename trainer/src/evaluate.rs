//! A classifier on labeled examples.

use anyhow::Result;
use classifier::{Classifier, Prediction};

use crate::batches::Sample;
use crate::dataset::Example;
use crate::metrics::Evaluation;

/// Classifies the texts of the examples, whose classes are indices into the classifier's labels.
pub fn evaluate(classifier: &Classifier, examples: &[Example]) -> Result<Evaluation> {
    let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).collect();
    let truth: Vec<usize> = examples.iter().map(|example| example.label).collect();
    Ok(compare(classifier, &truth, &classifier.classify(&texts)?))
}

/// [`evaluate`] for examples that are tokenized already.
pub(crate) fn evaluate_samples(classifier: &Classifier, samples: &[Sample]) -> Result<Evaluation> {
    let texts: Vec<&[u32]> = samples.iter().map(|sample| sample.ids.as_slice()).collect();
    let truth: Vec<usize> = samples.iter().map(|sample| sample.label as usize).collect();
    Ok(compare(classifier, &truth, &classifier.classify_tokens(&texts)?))
}

fn compare(classifier: &Classifier, truth: &[usize], predictions: &[Prediction]) -> Evaluation {
    let predicted: Vec<usize> = predictions.iter().map(|prediction| prediction.best().0).collect();
    // A score that was rounded to zero counts as the smallest that f32 tells from zero, not as an infinite loss.
    let loss =
        |(truth, prediction): (&usize, &Prediction)| -f64::from(prediction.scores[*truth].max(f32::MIN_POSITIVE)).ln();
    let total: f64 = truth.iter().zip(predictions).map(loss).sum();
    let mut evaluation = Evaluation::new(classifier.labels().names(), truth, &predicted);
    evaluation.loss = (!truth.is_empty()).then(|| total / truth.len() as f64);
    evaluation
}
