//! Texts to predictions, whatever the model does: a batch that fails is bisected until the text is
//! found that the model cannot label. When the model fails on a fixed text too, it is broken, and
//! no text is to blame.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow, ensure};
use classifier::{Prediction, Truncation};

use crate::metrics::Metrics;
use crate::model::{Model, Scores};
use crate::tokenize::Tokens;

/// The model fails even on a text that it has labeled before.
#[derive(Debug)]
pub(crate) struct Broken(pub anyhow::Error);

/// A result for each text, in order: at once where all goes well, from this model's token ids where
/// there are any.
pub(crate) fn label(
    model: &mut dyn Model,
    texts: &[&str],
    tokens: Option<&Tokens>,
    metrics: &Metrics,
) -> Result<Vec<Result<Prediction, String>>, Broken> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let answer = match tokens {
        Some(tokens) => believed(model, texts.len(), |model| model.classify_tokens(&tokens.ids)),
        None => attempt(model, texts),
    };
    match answer {
        Ok(predictions) => Ok(predictions.into_iter().map(Ok).collect()),
        Err(error) => bisect(model, texts, &error, metrics),
    }
}

/// Finds the texts that fail while the canary passes.
fn bisect(
    model: &mut dyn Model,
    texts: &[&str],
    error: &anyhow::Error,
    metrics: &Metrics,
) -> Result<Vec<Result<Prediction, String>>, Broken> {
    metrics.inference_failures.inc();
    canary(model).map_err(Broken)?;
    if let [text] = texts {
        // Once more: what failed may have been the memory of the device, not the text.
        let again = attempt(model, &[text]).map(|mut predictions| predictions.remove(0));
        return Ok(vec![again.map_err(|_| format!("{error:#}"))]);
    }
    let (left, right) = texts.split_at(texts.len() / 2);
    let mut predictions = label(model, left, None, metrics)?;
    predictions.extend(label(model, right, None, metrics)?);
    Ok(predictions)
}

pub(crate) fn canary(model: &mut dyn Model) -> Result<()> {
    caught(|| model.canary())
}

pub(crate) fn attempt(model: &mut dyn Model, texts: &[&str]) -> Result<Vec<Prediction>> {
    believed(model, texts.len(), |model| model.classify(texts))
}

/// A forward pass over texts of people who wait.
pub(crate) fn answer(model: &mut dyn Model, texts: &[(&str, Truncation)], raw: bool) -> Result<Vec<Scores>> {
    let answers = caught(|| model.answer(texts, raw))?;
    ensure!(answers.len() == texts.len(), "{} answers for {} texts", answers.len(), texts.len());
    answers.iter().flatten().try_for_each(|scores| believe(model, scores))?;
    Ok(answers)
}

/// A forward pass over so many texts, whose answer can be believed.
fn believed(
    model: &mut dyn Model,
    texts: usize,
    pass: impl FnOnce(&mut dyn Model) -> Result<Vec<Prediction>>,
) -> Result<Vec<Prediction>> {
    let predictions = caught(|| pass(model))?;
    ensure!(predictions.len() == texts, "{} predictions for {texts} texts", predictions.len());
    predictions.iter().try_for_each(|prediction| believe(model, &prediction.scores))?;
    Ok(predictions)
}

fn believe(model: &dyn Model, scores: &[f32]) -> Result<()> {
    let classes = model.classes().len();
    ensure!(scores.len() == classes, "{} scores for {classes} classes", scores.len());
    ensure!(scores.iter().all(|score| score.is_finite()), "a score that is no number");
    Ok(())
}

/// A model holds nothing that a panic could leave half done: its weights do not change.
fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(anyhow!("the model panicked: {}", text.unwrap_or("without a word")))
    })
}

#[cfg(test)]
pub(crate) mod tests;
