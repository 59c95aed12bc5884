//! Residual connection and LayerNorm in one, forward and backward:
//! `norm(residual + dropout(branch))`.

use anyhow::Result;
use bert::{Mask, ModelConfig, Parameters};
use candle_core::Tensor;
use kernels::{moments, sum_of, vectorised};

use super::gradients::Gradients;
use super::rows::Rows;
use super::tensors::read;

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
        let Normal { values, scales } = normal;
        scales.resize(values.len() / weight.len(), 0.0);
        let affine = Affine { weight: &*weight, bias: &*bias };
        normalise(values, scales, residual, affine, self.epsilon, branch, y);
        Ok(())
    }

    /// LayerNorm of `x` alone.
    pub fn forward_alone(&self, normal: &mut Normal, x: &[f32], y: &mut Vec<f32>) -> Result<()> {
        normal.values.clear();
        normal.values.resize(x.len(), 0.0);
        self.forward(normal, x, PLAIN, y)
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
        add_norm_backward(normal, &weight, branch, gradient, branch_gradient, sums);
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

/// What a LayerNorm's backward pass needs of its forward pass.
#[derive(Debug, Default)]
pub(super) struct Normal {
    /// The rows before weight and bias: mean 0, deviation 1. The branch until the forward pass.
    pub values: Vec<f32>,
    /// One over the deviation of each row.
    scales: Vec<f32>,
}

/// The weight and the bias of a LayerNorm, or the gradients of both.
#[derive(Clone, Copy)]
struct Affine<T> {
    weight: T,
    bias: T,
}

/// Where nothing is dropped of what is normalised.
pub(super) const PLAIN: Branch<'static> = Branch { mask: None, rows: Rows::Tokens };

/// What happens to the branch, and the numbers of its rows to dropout.
#[derive(Clone, Copy)]
pub(super) struct Branch<'a> {
    pub mask: Option<Mask>,
    pub rows: Rows<'a>,
}

vectorised! {
    fn normalise(
        values: &mut [f32],
        scales: &mut [f32],
        residual: &[f32],
        affine: Affine<&[f32]>,
        epsilon: f32,
        branch: Branch<'_>,
        y: &mut [f32],
    ) {
        let width = affine.weight.len();
        let rows = values.chunks_exact_mut(width).zip(residual.chunks_exact(width)).zip(y.chunks_exact_mut(width));
        for (number, ((row, residual), y)) in rows.enumerate() {
            drop_out(row, number, branch);
            for (value, residual) in row.iter_mut().zip(residual) {
                *value += residual;
            }
            let (mean, deviation) = moments(row, epsilon);
            let scale = 1.0 / deviation;
            scales[number] = scale;
            for (((value, y), weight), bias) in row.iter_mut().zip(y).zip(affine.weight).zip(affine.bias) {
                *value = (*value - mean) * scale;
                *y = *value * weight + bias;
            }
        }
    }
}

vectorised! {
    /// Turns the gradient of the results into that of the residual, writes that of the branch, and
    /// adds to those of weight and bias.
    fn add_norm_backward(
        normal: &Normal,
        weight: &[f32],
        branch: Branch<'_>,
        gradient: &mut [f32],
        branch_gradient: &mut [f32],
        affine_gradient: Affine<&mut [f32]>,
    ) {
        let width = weight.len();
        let Affine { weight: weight_gradient, bias: bias_gradient } = affine_gradient;
        let rows = gradient.chunks_exact_mut(width).zip(branch_gradient.chunks_exact_mut(width));
        let rows = rows.zip(normal.values.chunks_exact(width).zip(&normal.scales));
        for (number, ((gradient, branch_gradient), (normal, scale))) in rows.enumerate() {
            for ((sum, gradient), normal) in weight_gradient.iter_mut().zip(&*gradient).zip(normal) {
                *sum += gradient * normal;
            }
            for (sum, gradient) in bias_gradient.iter_mut().zip(&*gradient) {
                *sum += gradient;
            }
            for (gradient, weight) in gradient.iter_mut().zip(weight) {
                *gradient *= weight;
            }
            let (gradient, normal) = (&mut gradient[..width], &normal[..width]);
            let mean = sum_of(width, |i| gradient[i]) / width as f32;
            let mean_product = sum_of(width, |i| gradient[i] * normal[i]) / width as f32;
            for (gradient, normal) in gradient.iter_mut().zip(normal) {
                *gradient = scale * (*gradient - mean - normal * mean_product);
            }
            branch_gradient.copy_from_slice(gradient);
            drop_out(branch_gradient, number, branch);
        }
    }
}

/// Dropout of whole rows.
pub(super) fn drop_rows(rows: &mut [f32], width: usize, branch: Branch) {
    if branch.mask.is_some() {
        rows.chunks_exact_mut(width).enumerate().for_each(|(number, row)| drop_out(row, number, branch));
    }
}

#[inline(always)]
fn drop_out(row: &mut [f32], number: usize, branch: Branch) {
    if let Some(mask) = branch.mask {
        let first = branch.rows.token(number) * row.len();
        for (element, value) in row.iter_mut().enumerate() {
            *value *= mask.factor(first + element);
        }
    }
}
