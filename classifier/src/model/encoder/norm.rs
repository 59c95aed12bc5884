use candle_core::{Result, Tensor};

use super::Gradients;
use crate::model::{ModelConfig, Parameters};
use crate::ops::{self, Affine, Branch, Normal, read};

#[derive(Debug)]
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
    /// The places of the gradients of weight and bias; nothing where they do not learn.
    slots: Option<[usize; 2]>,
}

/// The gradients on the way back through a norm.
#[derive(Debug, Default)]
pub(super) struct NormGradients {
    /// Of the branch.
    pub branch: Vec<f32>,
    /// Of the weight and of the bias, of one shard.
    affine: [Vec<f32>; 2],
}

impl Norm {
    pub fn new(name: &str, config: &ModelConfig, parameters: &Parameters) -> Result<Self> {
        let names = [format!("{name}.weight"), format!("{name}.bias")];
        let [weight, bias] = names.each_ref().map(|name| parameters.get(name).cloned());
        let slots = names.map(|name| parameters.slot(&name));
        Ok(Self {
            weight: weight?,
            bias: bias?,
            epsilon: config.layer_norm_eps as f32,
            slots: slots[0].zip(slots[1]).map(Into::into),
        })
    }

    /// The branch stands in `normal`.
    pub fn forward(&self, normal: &mut Normal, residual: &[f32], branch: Branch, y: &mut Vec<f32>) -> Result<()> {
        y.resize(residual.len(), 0.0);
        let (weight, bias) = (read(&self.weight)?, read(&self.bias)?);
        ops::add_norm(normal, residual, Affine { weight: &*weight, bias: &*bias }, self.epsilon, branch, y);
        Ok(())
    }

    /// Turns the gradient of what came out into that of the residual.
    pub fn backward(
        &self,
        normal: &Normal,
        branch: Branch,
        gradient: &mut [f32],
        gradients: &mut NormGradients,
    ) -> Result<()> {
        let weight = read(&self.weight)?;
        let NormGradients { branch: branch_gradient, affine } = gradients;
        branch_gradient.resize(gradient.len(), 0.0);
        let [weight_sums, bias_sums] = affine.each_mut().map(|sums| {
            sums.clear();
            sums.resize(weight.len(), 0.0);
            sums.as_mut_slice()
        });
        let sums = Affine { weight: weight_sums, bias: bias_sums };
        ops::add_norm_backward(normal, &weight, branch, gradient, branch_gradient, sums);
        Ok(())
    }

    /// Adds up what the shards say of weight and bias.
    pub fn learn<'a>(&self, shards: impl Iterator<Item = &'a NormGradients>, gradients: &mut Gradients) {
        if let Some(slots) = self.slots {
            for shard in shards {
                for (slot, values) in slots.into_iter().zip(&shard.affine) {
                    gradients.add(slot, values);
                }
            }
        }
    }
}
