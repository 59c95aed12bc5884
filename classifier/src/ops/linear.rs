use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::composed;
use super::values::{read, tensor, values};
use crate::kernels::{Matrix, Output, multiply, vectorised};

/// `x · weightᵀ + bias` for `x` (rows, in), `weight` (out, in) as PyTorch stores it, and `bias` (out).
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return composed::linear(x, weight, bias);
    }
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, Linear)
}

struct Linear;

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, inputs) = x_layout.shape().dims2()?;
        let (outputs, _) = weight_layout.shape().dims2()?;
        let bias = values(bias, bias_layout)?;
        let mut y = Vec::with_capacity(rows * outputs);
        for _ in 0..rows {
            y.extend_from_slice(bias);
        }
        multiply(
            1.0,
            Matrix::new(values(x, x_layout)?, rows, inputs),
            Matrix::new(values(weight, weight_layout)?, outputs, inputs).transposed(),
            Output { values: &mut y, row_stride: outputs, add: true },
        );
        Ok((CpuStorage::F32(y), (rows, outputs).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _y: &Tensor,
        y_gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (rows, inputs) = x.dims2()?;
        let outputs = weight.dim(0)?;
        let y_gradient = y_gradient.contiguous()?;
        let y_gradient = read(&y_gradient)?;
        let y_gradient_matrix = Matrix::new(&y_gradient, rows, outputs);

        let mut x_gradient = vec![0.0; rows * inputs];
        multiply(
            1.0,
            y_gradient_matrix,
            Matrix::new(&read(weight)?, outputs, inputs),
            Output { values: &mut x_gradient, row_stride: inputs, add: false },
        );
        let mut weight_gradient = vec![0.0; outputs * inputs];
        multiply(
            1.0,
            y_gradient_matrix.transposed(),
            Matrix::new(&read(x)?, rows, inputs),
            Output { values: &mut weight_gradient, row_stride: inputs, add: false },
        );
        let mut bias_gradient = vec![0.0; outputs];
        sum_rows(&y_gradient, &mut bias_gradient);
        Ok((
            Some(tensor(x_gradient, (rows, inputs))?),
            Some(tensor(weight_gradient, (outputs, inputs))?),
            Some(tensor(bias_gradient, outputs)?),
        ))
    }
}

vectorised! {
    fn sum_rows(matrix: &[f32], sums: &mut [f32]) {
        for row in matrix.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}
