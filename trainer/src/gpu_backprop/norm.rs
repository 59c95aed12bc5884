//! LayerNorm of what a branch adds.

use candle_core::Result;
use gpu::Argument::{Count, Memory, Number};
use gpu::{Chip, rows};

use super::linear::Columns;
use super::{Dropped, Learned, Pass, Scratch, Stored};

#[derive(Debug)]
pub(super) struct Norm<M> {
    pub weight: Learned<M>,
    pub bias: Learned<M>,
    pub epsilon: f32,
}

/// What the way there leaves for the way back.
#[derive(Debug)]
pub(super) struct Normal<M> {
    /// What was normalised, before weight and bias.
    pub values: M,
    /// What each row was multiplied with.
    pub scales: M,
}

/// Rows that are normalised, and what is dropped of the branch.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub count: usize,
    /// Whether they are of the first token of each text.
    pub first_only: bool,
    pub dropped: Dropped,
}

impl<M> Norm<M> {
    pub fn new<C: Chip<Memory = M>>(name: &str, stored: &Stored<'_, C>) -> Result<Self> {
        Ok(Self {
            weight: stored.learned(&format!("{name}.weight"))?,
            bias: stored.learned(&format!("{name}.bias"))?,
            epsilon: stored.config.layer_norm_eps as f32,
        })
    }

    /// `y = LayerNorm(dropout(branch) + residual)`.
    pub fn forward<C: Chip<Memory = M>>(
        &self,
        chip: &C,
        pass: &Pass<'_, M>,
        of: Rows,
        (branch, residual): (&M, &M),
        normal: &Normal<M>,
        y: &M,
    ) -> Result<()> {
        let [low, high, threshold, kept] = of.dropped.arguments();
        chip.launch(
            "add_norm",
            rows(of.count),
            &[
                Memory(branch),
                Memory(residual),
                Count(of.count),
                Memory(pass.input),
                Count(pass.batch.starts_at),
                Count(of.first_only.into()),
                Memory(&self.weight.value),
                Memory(&self.bias.value),
                Number(self.epsilon),
                low,
                high,
                threshold,
                kept,
                Memory(&normal.values),
                Memory(&normal.scales),
                Memory(y),
            ],
        )
    }

    /// Learns, turns `scratch.gradient` into that of the residual, and writes that of the branch.
    pub fn backward<C: Chip<Memory = M>>(
        &self,
        chip: &C,
        pass: &Pass<'_, M>,
        of: Rows,
        normal: &Normal<M>,
        scratch: &Scratch<M>,
        add: bool,
    ) -> Result<()> {
        let width = self.weight.count;
        let columns = Columns { memory: &scratch.gradient, at: 0, stride: width, rows: of.count };
        if self.weight.gradient.is_some() || self.bias.gradient.is_some() {
            columns.sum(chip, Some(&normal.values), width, &scratch.partial)?;
        }
        for (which, parameter) in [&self.bias, &self.weight].into_iter().enumerate() {
            if let Some(gradient) = &parameter.gradient {
                columns.finish(chip, which, width, &scratch.partial, gradient, add)?;
            }
        }
        let [low, high, threshold, kept] = of.dropped.arguments();
        chip.launch(
            "norm_backward",
            rows(of.count),
            &[
                Memory(&scratch.gradient),
                Memory(&normal.values),
                Memory(&normal.scales),
                Count(of.count),
                Memory(pass.input),
                Count(pass.batch.starts_at),
                Count(of.first_only.into()),
                Memory(&self.weight.value),
                low,
                high,
                threshold,
                kept,
                Memory(&scratch.branch),
            ],
        )
    }
}
