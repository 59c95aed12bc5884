//! LayerNorm.

use std::ops::Range;

use bert::{ModelConfig, Parameters};
use candle_core::Result;
use kernels::{Machine, Panels};

use super::linear::Stored;

/// LayerNorm.
#[derive(Debug)]
pub(super) struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    pub fn new(name: &str, config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        let Stored { weight, bias } = Stored::read(name, parameters)?;
        Ok(Self { weight, bias, epsilon: config.layer_norm_eps as f32 })
    }

    pub fn width(&self) -> usize {
        self.weight.len()
    }

    pub fn apply<M: Machine<L, H>, const L: usize, const H: usize>(
        &self,
        machine: M,
        hidden: &mut Panels<L>,
        panels: Range<usize>,
    ) {
        for panel in panels {
            let rows = &mut hidden.panel_mut(panel)[..self.width()];
            machine.normalise(rows, (&self.weight, &self.bias), self.epsilon);
        }
    }
}
