use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::composed;
use super::dropout::Mask;
use super::values::{read, tensor, values};
use crate::kernels::{moments, sum_of, vectorised};

/// LayerNorm of `residual + dropout(branch)`, both (rows, width).
///
/// `affine` (2, width) is the LayerNorm's weight over its bias: one tensor, because a custom operation has three operands.
pub(crate) fn add_norm(
    branch: &Tensor,
    residual: &Tensor,
    affine: &Tensor,
    epsilon: f64,
    mask: Option<Mask>,
) -> Result<Tensor> {
    if !branch.device().is_cpu() {
        return composed::add_norm(branch, residual, affine, epsilon, mask);
    }
    let operation = AddNorm { epsilon: epsilon as f32, mask };
    branch.contiguous()?.apply_op3(&residual.contiguous()?, &affine.contiguous()?, operation)
}

struct AddNorm {
    epsilon: f32,
    mask: Option<Mask>,
}

impl CustomOp3 for AddNorm {
    fn name(&self) -> &'static str {
        "add-norm"
    }

    fn cpu_fwd(
        &self,
        branch: &CpuStorage,
        branch_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
        affine: &CpuStorage,
        affine_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut y = values(branch, branch_layout)?.to_vec();
        normalise(&mut y, values(residual, residual_layout)?, values(affine, affine_layout)?, self);
        Ok((CpuStorage::F32(y), branch_layout.shape().clone()))
    }

    fn bwd(
        &self,
        branch: &Tensor,
        residual: &Tensor,
        affine: &Tensor,
        _y: &Tensor,
        y_gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let y_gradient = y_gradient.contiguous()?;
        // The rows come in as the operands and leave as their gradients.
        let mut branch_rows = read(branch)?.to_vec();
        let mut residual_rows = read(residual)?.to_vec();
        let mut affine_gradient = vec![0.0; affine.elem_count()];
        normalise_backward(
            &read(affine)?,
            &read(&y_gradient)?,
            &mut branch_rows,
            &mut residual_rows,
            &mut affine_gradient,
            self,
        );
        Ok((
            Some(tensor(branch_rows, branch.shape())?),
            Some(tensor(residual_rows, residual.shape())?),
            Some(tensor(affine_gradient, affine.shape())?),
        ))
    }
}

vectorised! {
    fn normalise(rows: &mut [f32], residual: &[f32], affine: &[f32], operation: &AddNorm) {
        let width = affine.len() / 2;
        let (weight, bias) = affine.split_at(width);
        for (number, (row, residual)) in rows.chunks_exact_mut(width).zip(residual.chunks_exact(width)).enumerate() {
            add(row, residual, number * width, operation.mask);
            let (mean, deviation) = moments(row, operation.epsilon);
            let scale = 1.0 / deviation;
            for ((value, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
                *value = (*value - mean) * scale * weight + bias;
            }
        }
    }
}

vectorised! {
    fn normalise_backward(
        affine: &[f32],
        y_gradient: &[f32],
        branch: &mut [f32],
        residual: &mut [f32],
        affine_gradient: &mut [f32],
        operation: &AddNorm,
    ) {
        let width = affine.len() / 2;
        let weight = &affine[..width];
        let (weight_gradient, bias_gradient) = affine_gradient.split_at_mut(width);
        let rows = branch.chunks_exact_mut(width).zip(residual.chunks_exact_mut(width)).zip(y_gradient.chunks_exact(width));
        for (number, ((branch, residual), y_gradient)) in rows.enumerate() {
            add(branch, residual, number * width, operation.mask);
            let (mean, deviation) = moments(branch, operation.epsilon);
            let scale = 1.0 / deviation;
            for value in branch.iter_mut() {
                *value = (*value - mean) * scale;
            }
            for ((sum, gradient), value) in weight_gradient.iter_mut().zip(y_gradient).zip(&*branch) {
                *sum += gradient * value;
            }
            for (sum, gradient) in bias_gradient.iter_mut().zip(y_gradient) {
                *sum += gradient;
            }
            let (weight, gradient, normal) = (&weight[..width], &y_gradient[..width], &branch[..width]);
            let mean_gradient = sum_of(width, |i| gradient[i] * weight[i]) / width as f32;
            let mean_product = sum_of(width, |i| gradient[i] * weight[i] * normal[i]) / width as f32;
            for (((residual, gradient), weight), normal) in residual.iter_mut().zip(y_gradient).zip(weight).zip(normal) {
                *residual = scale * (gradient * weight - mean_gradient - normal * mean_product);
            }
            branch.copy_from_slice(residual);
            if let Some(mask) = operation.mask {
                for (element, value) in branch.iter_mut().enumerate() {
                    *value *= mask.factor(number * width + element);
                }
            }
        }
    }
}

#[inline(always)]
fn add(row: &mut [f32], residual: &[f32], first: usize, mask: Option<Mask>) {
    match mask {
        Some(mask) => {
            for (element, (value, residual)) in row.iter_mut().zip(residual).enumerate() {
                *value = *value * mask.factor(first + element) + residual;
            }
        }
        None => {
            for (value, residual) in row.iter_mut().zip(residual) {
                *value += residual;
            }
        }
    }
}
