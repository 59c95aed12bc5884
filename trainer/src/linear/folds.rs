//! Cross-validation: each part of the texts answered by a model that was fitted on the others.

use anyhow::Result;
use classifier::Classes;
use classifier::linear::{LinearModel, MAX_UNITS};

use super::Answer;
use crate::dataset::Example;
use crate::parallel;

/// Parts of the training texts.
pub(super) const FOLDS: usize = 5;

/// Which examples a model is fitted on, by index.
pub(super) type IsIn<'a> = &'a dyn Fn(usize) -> bool;

/// Every example as a model answers it that `fit` has made of the other folds; fold by fold.
pub(super) fn answers(
    examples: &[Example],
    classes: &Classes,
    threads: usize,
    fit: impl Fn(IsIn<'_>) -> Result<LinearModel> + Sync,
) -> Result<Vec<Answer>> {
    each(examples, classes, threads, |is_in, left_out| {
        let model = fit(is_in)?;
        let texts: Vec<&str> = left_out.iter().map(|index| examples[*index].text.as_str()).collect();
        let predictions = model.classify(&texts, MAX_UNITS)?;
        let answer = |(prediction, &index): (_, &usize)| Answer { index, prediction, truth: examples[index].label };
        Ok(predictions.into_iter().zip(left_out).map(answer).collect())
    })
}

/// The same where the answers to what is left out of a fold, by index, are the caller's to give.
pub(super) fn each(
    examples: &[Example],
    classes: &Classes,
    threads: usize,
    answer: impl Fn(IsIn<'_>, &[usize]) -> Result<Vec<Answer>> + Sync,
) -> Result<Vec<Answer>> {
    let folds = folds(examples, classes.len());
    let of_fold = |fold: usize| {
        let left_out: Vec<usize> = (0..examples.len()).filter(|index| folds[*index] == fold).collect();
        answer(&|index| folds[index] != fold, &left_out)
    };
    Ok(parallel::map(threads, (0..FOLDS).collect(), |_| 1, of_fold)?.into_iter().flatten().collect())
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
