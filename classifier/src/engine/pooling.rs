//! The vectors of all tokens to one a text.

use bert::{ModelConfig, Parameters, Pooling, TokenBatch};
use candle_core::Result;
use kernels::{Epilogue, Machine, Outcome, Panels, Span, Weights, exp};

use super::arena::Arena;
use super::layer::epilogue;
use super::linear::{Stored, numbers};

/// The vectors of all tokens to one a text.
#[derive(Debug)]
pub(super) enum Pooler<const H: usize> {
    Cls { dense: Weights<H>, bend: Epilogue },
    Mean,
    Max,
    Attention { query: Vec<f32> },
}

impl<const H: usize> Pooler<H> {
    pub fn new(config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        Ok(match config.pooling {
            Pooling::Cls => {
                let Stored { weight, bias } = Stored::read("bert.pooler.dense", parameters)?;
                Self::Cls { dense: Weights::new(&weight, &bias), bend: epilogue(config.head_activation) }
            }
            Pooling::Mean => Self::Mean,
            Pooling::Max => Self::Max,
            Pooling::Attention => Self::Attention { query: numbers("pooling.query.weight", parameters)? },
        })
    }

    /// Whether `hidden` is to hold the vectors of `[CLS]` alone.
    pub fn reads_cls_alone(&self) -> bool {
        matches!(self, Self::Cls { .. })
    }

    /// From `arena.hidden` to `arena.pooled`, whose first rows are those of a hidden vector.
    pub fn pool<M: Machine<L, H>, const L: usize>(
        &self,
        machine: M,
        batch: &TokenBatch,
        rows: usize,
        arena: &mut Arena<L>,
    ) {
        let Arena { hidden, pooled, .. } = arena;
        pooled.reshape(rows, batch.texts());
        let mut pool = |merge: &dyn Fn(std::ops::Range<usize>) -> Vec<f32>| {
            for (text, range) in batch.ranges().enumerate() {
                pooled.set_token(text, merge(range).into_iter());
            }
        };
        match self {
            Self::Cls { dense, bend } => {
                let outcome = Outcome { add: false, epilogue: Some(*bend) };
                dense.multiply(machine, hidden, Span::all(batch.texts().div_ceil(L)), outcome, pooled);
            }
            Self::Mean => pool(&|range| {
                let share = 1.0 / range.len() as f32;
                weighted_mean(hidden, range.map(|token| (token, share)))
            }),
            Self::Max => pool(&|range| greatest(hidden, range)),
            Self::Attention { query } => pool(&|range| {
                let shares = shares(hidden, query, range.clone());
                weighted_mean(hidden, range.zip(shares))
            }),
        }
    }
}

fn weighted_mean<const L: usize>(hidden: &Panels<L>, tokens: impl Iterator<Item = (usize, f32)>) -> Vec<f32> {
    let mut mean = vec![0.0; hidden.panel(0).len()];
    for (token, share) in tokens {
        mean.iter_mut().zip(hidden.token(token)).for_each(|(mean, value)| *mean += share * value);
    }
    mean
}

/// A NaN is greater than any number.
fn greatest<const L: usize>(hidden: &Panels<L>, tokens: std::ops::Range<usize>) -> Vec<f32> {
    let mut greatest = vec![f32::NEG_INFINITY; hidden.panel(0).len()];
    for token in tokens {
        for (greatest, value) in greatest.iter_mut().zip(hidden.token(token)) {
            if value > *greatest || value.is_nan() {
                *greatest = value;
            }
        }
    }
    greatest
}

/// The softmax of the products of some tokens with the query.
fn shares<const L: usize>(hidden: &Panels<L>, query: &[f32], tokens: std::ops::Range<usize>) -> Vec<f32> {
    let product = |token| query.iter().zip(hidden.token(token)).map(|(query, value)| query * value).sum::<f32>();
    let scores: Vec<f32> = tokens.map(product).collect();
    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| exp(score - greatest)).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}
