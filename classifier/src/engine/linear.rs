//! A linear layer in the precision that the model was opened with.

use bert::Parameters;
use candle_core::Result;
use kernels::{IntegerWeights, Machine, Outcome, Panels, Rounded, Span, Weights};

use super::team::Member;
use crate::precision::Precision;

/// A linear layer in either precision.
#[derive(Debug)]
pub(super) enum Linear<const H: usize> {
    F32(Weights<H>),
    Int8(IntegerWeights<H>),
}

/// Who multiplies.
#[derive(Debug, Default)]
pub(super) struct Worker<const L: usize> {
    pub member: Member,
    /// What int8 makes of its input.
    pub rounded: Rounded<L>,
}

/// Weight (outputs, inputs) and bias as the checkpoint has them.
pub(super) struct Stored {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Stored {
    /// The parameters of a linear layer, or of a LayerNorm.
    pub fn read(name: &str, parameters: &Parameters) -> Result<Self> {
        Ok(Self {
            weight: numbers(&format!("{name}.weight"), parameters)?,
            bias: numbers(&format!("{name}.bias"), parameters)?,
        })
    }

    /// One layer that does what several do side by side.
    pub fn stack(layers: impl IntoIterator<Item = Self>) -> Self {
        let mut stacked = Self { weight: Vec::new(), bias: Vec::new() };
        for Self { weight, bias } in layers {
            stacked.weight.extend(weight);
            stacked.bias.extend(bias);
        }
        stacked
    }

    /// The same layer with everything that comes out multiplied by `factor`.
    pub fn scaled(mut self, factor: f32) -> Self {
        self.weight.iter_mut().chain(&mut self.bias).for_each(|number| *number *= factor);
        self
    }
}

impl<const H: usize> Linear<H> {
    pub fn new<M: Machine<L, H>, const L: usize>(stored: &Stored, precision: Precision) -> Self {
        match precision {
            // A CPU has f32 where a GPU has bf16.
            Precision::F32 | Precision::Bf16 => Self::F32(Weights::new(&stored.weight, &stored.bias)),
            Precision::Int8 => Self::Int8(IntegerWeights::new::<M, L>(&stored.weight, &stored.bias)),
        }
    }

    /// Rows that come out, those that fill up a tile included.
    pub fn rows(&self) -> usize {
        match self {
            Self::F32(weights) => weights.rows(),
            Self::Int8(weights) => weights.rows(),
        }
    }

    /// The worker's share of the rows, and then those of the others.
    pub fn multiply<M: Machine<L, H>, const L: usize>(
        &self,
        machine: M,
        x: &Panels<L>,
        span: Span,
        outcome: Outcome,
        worker: &mut Worker<L>,
        out: &mut Panels<L>,
    ) {
        let Worker { member, rounded } = worker;
        let span = Span { share: member.share(), ..span };
        match self {
            Self::F32(weights) => weights.multiply(machine, x, span, outcome, out),
            Self::Int8(weights) => weights.multiply(machine, x, span, outcome, rounded, out),
        }
        member.exchange(out, span.to..span.to + span.panels, self.rows() / H, H);
    }
}

/// The numbers of a parameter.
pub(super) fn numbers(name: &str, parameters: &Parameters) -> Result<Vec<f32>> {
    parameters.get(name)?.flatten_all()?.to_vec1()
}
