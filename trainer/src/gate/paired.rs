//! Two models on the same texts: the exact McNemar test, and a score test for "not worse by a
//! margin".

use serde::Serialize;

/// The candidate against another model, text by text. Only texts on which one is right and the
/// other wrong tell them apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Paired {
    /// Texts that the candidate alone has right.
    pub better: usize,
    /// Texts that the other alone has right.
    pub worse: usize,
    /// Probability of as many texts or more for the candidate, were both equally good: McNemar's
    /// exact test, one-sided.
    pub p_better: f64,
    /// Probability of a difference like this or a better one, were the candidate worse by the
    /// margin: Tango's score test.
    pub p_not_worse: Option<f64>,
}

impl Paired {
    /// Compares two models by which texts each has right.
    ///
    /// # Panics
    /// When they have not answered the same number of texts.
    pub fn new(candidate: &[bool], other: &[bool], margin: Option<f64>) -> Self {
        assert_eq!(candidate.len(), other.len(), "both models answer the same texts");
        let count = |wanted| candidate.iter().zip(other).filter(|(one, two)| (**one, **two) == wanted).count();
        let (better, worse) = (count((true, false)), count((false, true)));
        Self {
            better,
            worse,
            p_better: at_least(better, better + worse),
            p_not_worse: margin.map(|margin| not_worse(better, worse, candidate.len(), margin)),
        }
    }
}

/// The probability of `wins` or more heads in `games` throws of a fair coin.
fn at_least(wins: usize, games: usize) -> f64 {
    let (wins, games) = (wins as f64, games as f64);
    let log_choose = |k: f64| libm::lgamma(games + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(games - k + 1.0);
    let tail = (0..=(games - wins) as usize).map(|more| {
        let heads = wins + more as f64;
        (log_choose(heads) - games * std::f64::consts::LN_2).exp()
    });
    tail.sum::<f64>().min(1.0)
}

/// Toshiro Tango, "Equivalence test and confidence interval for the difference in proportions for
/// the paired-sample design", Statistics in Medicine 17 (1998): the score test of `difference =
/// -margin` against a larger one, with the other model's share of lone successes at its greatest
/// likelihood under that difference.
fn not_worse(better: usize, worse: usize, texts: usize, margin: f64) -> f64 {
    if texts == 0 {
        return 1.0;
    }
    let (better, worse, texts, difference) = (better as f64, worse as f64, texts as f64, -margin);
    let a = 2.0 * texts;
    let b = -better - worse + (2.0 * texts - better + worse) * difference;
    let c = -worse * difference * (1.0 - difference);
    let worse_share = ((b * b - 4.0 * a * c).max(0.0).sqrt() - b) / (2.0 * a);
    let variance = texts * (2.0 * worse_share + difference * (1.0 - difference));
    if variance <= 0.0 {
        return 1.0;
    }
    let z = (better - worse - texts * difference) / variance.sqrt();
    0.5 * libm::erfc(z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// ```python
    /// from scipy.stats import binomtest
    /// for b, c in [(0, 0), (5, 0), (12, 4), (10, 10), (3, 9), (130, 90)]:
    ///     print(binomtest(b, b + c, 0.5, alternative="greater").pvalue if b + c else 1.0)
    /// ```
    #[test]
    fn the_exact_test_is_that_of_scipy() {
        let expected = [
            ((0, 0), 1.0),
            ((5, 0), 0.03125),
            ((12, 4), 0.0384063720703125),
            ((10, 10), 0.5880985260009766),
            ((3, 9), 0.980712890625),
            ((130, 90), 0.004202725876340968),
        ];
        for ((better, worse), p) in expected {
            assert!((at_least(better, better + worse) - p).abs() < 1e-10, "{better} against {worse}");
        }
    }

    /// The share of lone successes under the hypothesis by numerical optimisation, and not by
    /// Tango's formula:
    ///
    /// ```python
    /// import math
    /// from scipy.optimize import minimize_scalar
    /// from scipy.stats import norm
    /// def p(b, c, n, margin):
    ///     d = -margin
    ///     def loss(q):
    ///         parts = (b, q + d), (c, q), (n - b - c, 1 - 2 * q - d)
    ///         return -sum(k * math.log(max(x, 1e-300)) for k, x in parts if k)
    ///     q = minimize_scalar(loss, bounds=(margin, (1 - d) / 2), method="bounded", options={"xatol": 1e-14}).x
    ///     return norm.sf((b - c - n * d) / math.sqrt(n * (2 * q + d - d * d)))
    /// for case in [(10, 10, 500, .02), (3, 9, 500, .02), (12, 4, 200, .01), (40, 60, 2000, .02)]: print(p(*case))
    /// ```
    #[test]
    fn the_score_test_is_that_of_scipys_optimiser() {
        let expected = [
            ((10, 10, 500, 0.02), 0.02019197039728559),
            ((3, 9, 500, 0.02), 0.14659801017018959),
            ((12, 4, 200, 0.01), 0.007726078731375248),
            ((40, 60, 2000, 0.02), 0.026212101652503695),
        ];
        for ((better, worse, texts, margin), p) in expected {
            let found = not_worse(better, worse, texts, margin);
            assert!((found - p).abs() < 1e-6, "{better} against {worse} of {texts}: {found}");
        }
    }

    #[test]
    fn equal_models_are_not_worse_once_there_are_enough_texts() {
        assert!(not_worse(0, 0, 100, 0.02) > 0.05);
        assert!(not_worse(0, 0, 500, 0.02) < 0.05);
        assert_eq!(not_worse(0, 0, 0, 0.02), 1.0);
    }

    proptest! {
        #[test]
        fn p_values_are_probabilities_and_fall_with_every_win(better in 0_usize..300, worse in 0_usize..300, margin in 0.0..0.2) {
            let texts = better + worse + 50;
            for p in [at_least(better, better + worse), not_worse(better, worse, texts, margin)] {
                prop_assert!((0.0..=1.0).contains(&p), "{}", p);
            }
            prop_assert!(at_least(better + 1, better + 1 + worse) <= at_least(better, better + worse) + 1e-9);
            prop_assert!(not_worse(better + 1, worse, texts, margin) <= not_worse(better, worse, texts, margin) + 1e-12);
        }
    }
}
