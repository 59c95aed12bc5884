//! The linear layer, forward and backward: `y = x · weightᵀ + bias` for `x` (rows, inputs),
//! `weight` (outputs, inputs) as PyTorch stores it, `bias` (outputs) and `y` (rows, outputs).

use std::ops::Range;

use anyhow::Result;
use bert::Parameters;
use candle_core::Tensor;
use kernels::{ADDED_AT_ONCE, Matrix, Output, multiply, vectorised};

use super::gradients::Gradients;
use super::rows::add_to;
use super::tensors::read;
use crate::parallel;

#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Tensor,
    /// The places of the gradients of both; nothing where they do not learn.
    slots: Option<[usize; 2]>,
}

/// What a linear layer's parameters learn from: of each shard, the gradient of what it gave and
/// what it was given.
pub(super) struct Lesson<'a> {
    pub linear: &'a Linear,
    pub shards: Vec<(&'a [f32], &'a [f32])>,
}

impl Linear {
    pub fn new(name: &str, parameters: &Parameters) -> Result<Self> {
        let names = [format!("{name}.weight"), format!("{name}.bias")];
        let [weight, bias] = names.each_ref().map(|name| parameters.get(name).cloned());
        let slots = names.map(|name| parameters.slot(&name));
        Ok(Self { weight: weight?, bias: bias?, slots: slots[0].zip(slots[1]).map(Into::into) })
    }

    pub fn learns(&self) -> bool {
        self.slots.is_some()
    }

    pub fn forward(&self, x: &[f32], y: &mut Vec<f32>) -> Result<()> {
        let (weight, bias) = (read(&self.weight)?, read(&self.bias)?);
        let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
        y.resize(x.len() / inputs * outputs, 0.0);
        for row in y.chunks_exact_mut(outputs) {
            row.copy_from_slice(&bias);
        }
        multiply(
            1.0,
            Matrix::new(x, x.len() / inputs, inputs),
            Matrix::new(&weight, outputs, inputs).transposed(),
            Output { values: y, row_stride: outputs, add: true },
        );
        Ok(())
    }

    /// The gradient of what went in; added to what is there, or in its place.
    pub fn backward(&self, y_gradient: &[f32], x_gradient: &mut Vec<f32>, add: bool) -> Result<()> {
        let (outputs, inputs) = self.weight.dims2()?;
        x_gradient.resize(y_gradient.len() / outputs * inputs, 0.0);
        multiply(
            1.0,
            Matrix::new(y_gradient, y_gradient.len() / outputs, outputs),
            Matrix::new(&read(&self.weight)?, outputs, inputs),
            Output { values: x_gradient, row_stride: inputs, add },
        );
        Ok(())
    }
}

/// The gradients of the parameters of several layers, on so many threads.
pub(super) fn learn(lessons: &[Lesson], gradients: &mut Gradients, threads: usize) -> Result<()> {
    let learning = || lessons.iter().filter_map(|lesson| Some((lesson, lesson.linear.slots?)));
    // Lent by the gradients while the threads write to them.
    let mut lent: Vec<_> = learning().map(|(_, slots)| slots.map(|slot| gradients.lend(slot))).collect();
    let mut lanes: Vec<Vec<(&Lesson, OutputRows, bool)>> = (0..threads).map(|_| Vec::new()).collect();
    for ((lesson, _), [(weight, add), (bias, _)]) in learning().zip(&mut lent) {
        let (outputs, inputs) = lesson.linear.weight.dims2()?;
        let (mut weight, mut bias) = (weight.as_mut_slice(), bias.as_mut_slice());
        for (thread, lane) in lanes.iter_mut().enumerate() {
            let rows = outputs * thread / threads..outputs * (thread + 1) / threads;
            let (own_weight, own_bias);
            (own_weight, weight) = weight.split_at_mut(rows.len() * inputs);
            (own_bias, bias) = bias.split_at_mut(rows.len());
            if !rows.is_empty() {
                lane.push((lesson, OutputRows { rows, outputs, weight: own_weight, bias: own_bias }, *add));
            }
        }
    }
    parallel::map(
        threads,
        lanes,
        |_| 1,
        |lane| {
            for (lesson, mut rows, add) in lane {
                for (number, (y_gradient, x)) in lesson.shards.iter().enumerate() {
                    rows.backward(y_gradient, x, add || number > 0);
                }
            }
            Ok(())
        },
    )?;
    for ((_, slots), lent) in learning().zip(lent) {
        for (slot, (values, _)) in slots.into_iter().zip(lent) {
            gradients.give_back(slot, values);
        }
    }
    Ok(())
}

/// Some rows of the gradient of a layer's weight, and as many values of its bias's: threads share a
/// layer by its outputs.
struct OutputRows<'a> {
    /// Which they are.
    rows: Range<usize>,
    /// Of all that there are.
    outputs: usize,
    weight: &'a mut [f32],
    bias: &'a mut [f32],
}

impl OutputRows<'_> {
    /// The gradients from those of `y`, for the `x` that it came from; added to what is there, or
    /// in its place.
    ///
    /// What is added is summed for itself first, so that the sum over several `x` does not depend
    /// on who adds them up.
    fn backward(&mut self, y_gradient: &[f32], x: &[f32], add: bool) {
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
