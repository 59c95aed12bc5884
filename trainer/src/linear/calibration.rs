//! Calibration: how sure a model may be of its answers.
//!
//! A support vector machine's sums say which class, not how probable it is. One factor on all of
//! them makes their softmax fit how often such answers are right (temperature scaling: Guo, Pleiss,
//! Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017), and leaves every answer
//! as it is.

use super::Answer;

/// What it usually comes to: where there are too few texts to find out.
pub(super) const USUAL: f32 = 5.0;

/// Where it is looked for.
const LOWEST: f64 = 0.5;
const HIGHEST: f64 = 30.0;

/// The factor under which the true classes are most probable.
pub(super) fn factor(answers: &[Answer]) -> f32 {
    let logits = |answer: &Answer| {
        // Up to a constant, which makes no difference to a softmax.
        let logits = answer.prediction.scores.iter().map(|score| f64::from(score.max(f32::MIN_POSITIVE)).ln());
        (logits.collect::<Vec<f64>>(), answer.truth)
    };
    let answers: Vec<(Vec<f64>, usize)> = answers.iter().map(logits).collect();
    let loss = |exponent: f64| {
        answers.iter().map(|(logits, truth)| cross_entropy(logits, *truth, exponent.exp())).sum::<f64>()
    };
    least(loss, LOWEST.ln(), HIGHEST.ln()).exp() as f32
}

/// The cross entropy of the true class under the softmax of the logits times the factor.
fn cross_entropy(logits: &[f64], truth: usize, factor: f64) -> f64 {
    let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| ((logit - greatest) * factor).exp()).sum();
    sum.ln() - (logits[truth] - greatest) * factor
}

/// Where a function with one minimum has it, by golden sections.
fn least(function: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    let section = (5.0_f64.sqrt() - 1.0) / 2.0;
    for _ in 0..40 {
        let (left, right) = (high - section * (high - low), low + section * (high - low));
        if function(left) < function(right) {
            high = right;
        } else {
            low = left;
        }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use classifier::Prediction;

    use super::*;

    /// Answers whose true probability is `sure`, given as the `1/4` power of the odds.
    fn answers(sure: usize) -> Vec<Answer> {
        let odds = (sure as f64 / (100 - sure) as f64).powf(0.25);
        let prediction = Prediction { scores: vec![(1.0 / (1.0 + odds)) as f32, (odds / (1.0 + odds)) as f32] };
        (0..100)
            .map(|index| Answer { index, prediction: prediction.clone(), truth: usize::from(index < sure) })
            .collect()
    }

    #[test]
    fn the_factor_makes_answers_as_sure_as_they_are_often_right() {
        let mixed: Vec<_> = [60, 80, 95].into_iter().flat_map(answers).collect();
        assert!((factor(&mixed) - 4.0).abs() < 0.01, "{}", factor(&mixed));
    }

    #[test]
    fn answers_that_are_always_right_do_not_make_it_infinite() {
        let right: Vec<_> = answers(80).into_iter().filter(|answer| answer.truth == 1).collect();
        assert!(factor(&right) <= 30.0);
    }
}
