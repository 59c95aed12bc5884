//! Residual connection and LayerNorm in one, forward and backward, on slices: `norm(residual + dropout(branch))`.

use super::dropout::Mask;
use super::rows::Rows;
use crate::kernels::{moments, sum_of, vectorised};

/// What a LayerNorm's backward pass needs of its forward pass.
#[derive(Debug, Default)]
pub(crate) struct Normal {
    /// The rows before weight and bias: mean 0, deviation 1. The branch until the forward pass.
    pub values: Vec<f32>,
    /// One over the deviation of each row.
    pub scales: Vec<f32>,
}

/// The weight and the bias of a LayerNorm, or the gradients of both.
#[derive(Clone, Copy)]
pub(crate) struct Affine<T> {
    pub weight: T,
    pub bias: T,
}

/// What happens to the branch, and the numbers of its rows to dropout.
#[derive(Clone, Copy)]
pub(crate) struct Branch<'a> {
    pub mask: Option<Mask>,
    pub rows: Rows<'a>,
}

/// The norm of the branch, which stands in `normal`, plus the residual.
pub(crate) fn add_norm(
    normal: &mut Normal,
    residual: &[f32],
    affine: Affine<&[f32]>,
    epsilon: f32,
    branch: Branch,
    y: &mut [f32],
) {
    let Normal { values, scales } = normal;
    scales.resize(values.len() / affine.weight.len(), 0.0);
    normalise(values, scales, residual, affine, epsilon, branch, y);
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
    /// Turns the gradient of the results into that of the residual, writes that of the branch, and adds to those of weight
    /// and bias.
    pub(crate) fn add_norm_backward(
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

#[inline(always)]
fn drop_out(row: &mut [f32], number: usize, branch: Branch) {
    if let Some(mask) = branch.mask {
        let first = branch.rows.token(number) * row.len();
        for (element, value) in row.iter_mut().enumerate() {
            *value *= mask.factor(first + element);
        }
    }
}
