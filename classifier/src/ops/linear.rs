//! The linear layer, forward and backward, on slices: `y = x · weightᵀ + bias` for `x` (rows, inputs), `weight` (outputs, inputs)
//! as PyTorch stores it, `bias` (outputs) and `y` (rows, outputs).

use std::ops::Range;

use crate::kernels::{ADDED_AT_ONCE, Matrix, Output, multiply, vectorised};

/// The layer's result.
pub(crate) fn linear(x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
    let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
    for row in y.chunks_exact_mut(outputs) {
        row.copy_from_slice(bias);
    }
    multiply(
        1.0,
        Matrix::new(x, x.len() / inputs, inputs),
        Matrix::new(weight, outputs, inputs).transposed(),
        Output { values: y, row_stride: outputs, add: true },
    );
}

/// The gradient of `x` from that of `y`, which has so many columns; added to what is there, or in its place.
pub(crate) fn linear_backward(y_gradient: &[f32], weight: &[f32], outputs: usize, x_gradient: &mut [f32], add: bool) {
    let inputs = weight.len() / outputs;
    multiply(
        1.0,
        Matrix::new(y_gradient, y_gradient.len() / outputs, outputs),
        Matrix::new(weight, outputs, inputs),
        Output { values: x_gradient, row_stride: inputs, add },
    );
}

/// Some rows of the gradient of a layer's weight, and as many values of its bias's: threads share a layer by its outputs.
pub(crate) struct OutputRows<'a> {
    /// Which they are.
    pub rows: Range<usize>,
    /// Of all that there are.
    pub outputs: usize,
    pub weight: &'a mut [f32],
    pub bias: &'a mut [f32],
}

impl OutputRows<'_> {
    /// The gradients from those of `y`, for the `x` that it came from; added to what is there, or in its place.
    ///
    /// What is added is summed for itself first, so that the sum over several `x` does not depend on who adds them up.
    pub fn backward(&mut self, y_gradient: &[f32], x: &[f32], add: bool) {
        let (tokens, inputs) = (y_gradient.len() / self.outputs, self.weight.len() / self.rows.len());
        let y_gradient = &y_gradient[self.rows.start..];
        let left = Matrix::strided(y_gradient, tokens, self.rows.len(), self.outputs).transposed();
        let product = |values: &mut [f32], add| {
            multiply(1.0, left, Matrix::new(x, tokens, inputs), Output { values, row_stride: inputs, add });
        };
        let mut sums = vec![0.0; self.rows.len()];
        sum_rows(y_gradient, self.outputs, &mut sums);
        if add && tokens > ADDED_AT_ONCE {
            let mut sum = vec![0.0; self.weight.len()];
            product(&mut sum, false);
            add_to(self.weight, &sum);
        } else {
            product(self.weight, add);
        }
        if !add {
            self.bias.fill(0.0);
        }
        add_to(self.bias, &sums);
    }
}

vectorised! {
    /// Sums of the first columns of a matrix whose rows start every `stride` values.
    fn sum_rows(matrix: &[f32], stride: usize, sums: &mut [f32]) {
        for row in matrix.chunks(stride) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
}

vectorised! {
    /// Adds values one by one.
    pub(crate) fn add_to(sums: &mut [f32], values: &[f32]) {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
    }
}
