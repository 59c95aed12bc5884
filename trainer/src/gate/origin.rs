//! Where a held-out text comes from, and what those that were drawn at random say of the stream.

use serde::Serialize;

use crate::audit::{Answered, Estimate};

/// How a text came to be labeled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Origin {
    /// A person chose it, or a rule that asked no model.
    Chosen,
    /// It was drawn from the stream at random, with this probability.
    Audit {
        /// Above 0, at most 1.
        probability: f64,
    },
    /// It was picked because the champion was not sure of it, or was contradicted. The champion is
    /// bad at such texts by choice: any other model of equal worth would look better on them.
    Doubted,
}

/// How right the models are on the stream, by the texts that were drawn from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OnStream {
    /// The candidate.
    pub candidate: Estimate,
    /// The champion, where there is one.
    pub champion: Option<Estimate>,
    /// Probability of a loss like this or a greater one, were the candidate as good as the
    /// champion.
    pub p_worse: Option<f64>,
}

impl OnStream {
    /// From which texts each model has right; `None` where no text was drawn.
    pub(super) fn of(origins: &[Origin], candidate: &[bool], champion: Option<&[bool]>) -> Option<Self> {
        let estimate = |right: &[bool]| {
            let answers = origins.iter().zip(right).filter_map(|(origin, is_right)| match origin {
                Origin::Audit { probability } => Some(Answered { probability: *probability, is_right: *is_right }),
                Origin::Chosen | Origin::Doubted => None,
            });
            Estimate::of(answers)
        };
        Some(Self {
            candidate: estimate(candidate)?,
            champion: champion.and_then(estimate),
            p_worse: champion.and_then(|champion| p_worse(origins, candidate, champion)),
        })
    }
}

/// The weighted mean of the differences, text by text, against its standard error. Below
/// [`ENOUGH`] differences the normal distribution promises too much.
fn p_worse(origins: &[Origin], candidate: &[bool], champion: &[bool]) -> Option<f64> {
    let differences: Vec<(f64, f64)> = (origins.iter().zip(candidate.iter().zip(champion)))
        .filter_map(|(origin, (candidate, champion))| match origin {
            Origin::Audit { probability } => {
                Some((1.0 / probability, f64::from(u8::from(*candidate)) - f64::from(u8::from(*champion))))
            }
            Origin::Chosen | Origin::Doubted => None,
        })
        .collect();
    if differences.iter().filter(|(_, difference)| *difference != 0.0).count() < ENOUGH {
        return None;
    }
    let sum: f64 = differences.iter().map(|(weight, _)| weight).sum();
    let mean = differences.iter().map(|(weight, difference)| weight * difference).sum::<f64>() / sum;
    let squares: f64 = differences.iter().map(|(weight, difference)| (weight * (difference - mean)).powi(2)).sum();
    Some(normal(mean / (squares.sqrt() / sum)))
}

const ENOUGH: usize = 8;

/// The standard normal distribution up to `z`.
pub(super) fn normal(z: f64) -> f64 {
    0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWN: Origin = Origin::Audit { probability: 0.1 };

    #[test]
    fn only_what_was_drawn_says_something_of_the_stream() {
        let origins = [DRAWN, Origin::Chosen, Origin::Doubted, Origin::Audit { probability: 0.05 }];
        let on_stream = OnStream::of(&origins, &[true, false, false, false], None).unwrap();
        assert!((on_stream.candidate.value - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!((on_stream.candidate.texts, on_stream.champion, on_stream.p_worse), (2, None, None));
        assert_eq!(OnStream::of(&[Origin::Chosen], &[true], None), None);
    }

    #[test]
    fn a_clear_loss_is_told_from_chance_and_few_differences_tell_nothing() {
        let p_worse = |lost: usize, won: usize| {
            let champion: Vec<bool> = (0..200).map(|index| index < 150).collect();
            let candidate: Vec<bool> = (0..200).map(|index| (lost..150 + won).contains(&index)).collect();
            OnStream::of(&[DRAWN; 200], &candidate, Some(&champion)).unwrap().p_worse
        };
        assert!(p_worse(20, 2).unwrap() < 0.001);
        assert!((p_worse(10, 10).unwrap() - 0.5).abs() < 1e-9);
        assert!(p_worse(2, 20).unwrap() > 0.999);
        assert_eq!(p_worse(4, 3), None);
    }
}
