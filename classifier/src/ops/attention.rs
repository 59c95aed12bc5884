use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::composed;
use super::dropout::{Mask, drop_out};
use super::texts::Texts;
use super::values::{read, tensor, values};
use crate::kernels::{Matrix, Output, multiply, softmax, sum_of, vectorised};

/// Self-attention inside each text of a packed batch: `dropout(softmax(query · keyᵀ / √d)) · value` for each head.
///
/// All operands are (tokens, heads · d).
pub(crate) fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    texts: &Texts,
    heads: usize,
    mask: Option<Mask>,
) -> Result<Tensor> {
    if let Some(padded) = &texts.padded {
        return composed::attention(query, key, value, padded, &texts.starts, heads, mask);
    }
    let operation = Attention { starts: texts.starts.clone(), heads, mask };
    query.contiguous()?.apply_op3(&key.contiguous()?, &value.contiguous()?, operation)
}

/// The number of the first attention probability of each text: what dropout masks count by. A text of `n` tokens has `heads · n²`.
pub(super) fn first_scores(starts: &[usize], heads: usize) -> impl Iterator<Item = usize> {
    starts.windows(2).scan(0, move |next, pair| {
        let first = *next;
        *next += heads * (pair[1] - pair[0]).pow(2);
        Some(first)
    })
}

struct Attention {
    starts: Arc<[usize]>,
    heads: usize,
    mask: Option<Mask>,
}

/// One head of one text.
struct Head {
    /// Its first value in a (tokens, width) matrix.
    first: usize,
    /// One past its last value there.
    end: usize,
    /// Tokens of the text.
    length: usize,
    /// Size of the head.
    size: usize,
    /// Values from one token to the next.
    width: usize,
    /// The number of its first probability.
    first_score: usize,
}

impl Attention {
    fn heads(&self, width: usize) -> impl Iterator<Item = Head> {
        let size = width / self.heads;
        let texts = self.starts.windows(2).zip(first_scores(&self.starts, self.heads));
        texts.flat_map(move |(pair, first_score)| {
            let (start, length) = (pair[0], pair[1] - pair[0]);
            (0..self.heads).map(move |head| Head {
                first: start * width + head * size,
                end: (start + length - 1) * width + (head + 1) * size,
                length,
                size,
                width,
                first_score: first_score + head * length * length,
            })
        })
    }

    fn longest(&self) -> usize {
        self.starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }
}

impl Head {
    fn range(&self) -> Range<usize> {
        self.first..self.end
    }

    /// This head's part of a (tokens, width) matrix: (length, size).
    fn part<'a>(&self, whole: &'a [f32]) -> Matrix<'a> {
        Matrix::strided(&whole[self.range()], self.length, self.size, self.width)
    }

    /// The same as the place for a product.
    fn output<'a>(&self, whole: &'a mut [f32]) -> Output<'a> {
        Output { values: &mut whole[self.range()], row_stride: self.width, add: false }
    }

    /// A (length, length) matrix in scratch memory.
    fn square<'a>(&self, scratch: &'a [f32]) -> Matrix<'a> {
        Matrix::new(scratch, self.length, self.length)
    }

    /// `softmax(query · keyᵀ / √size)` into scratch memory.
    fn probabilities(&self, query: &[f32], key: &[f32], scores: &mut [f32]) {
        multiply(
            1.0 / (self.size as f32).sqrt(),
            self.part(query),
            self.part(key).transposed(),
            Output { values: scores, row_stride: self.length, add: false },
        );
        softmax(scores, self.length);
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        query: &CpuStorage,
        query_layout: &Layout,
        key: &CpuStorage,
        key_layout: &Layout,
        value: &CpuStorage,
        value_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (query, key, value) =
            (values(query, query_layout)?, values(key, key_layout)?, values(value, value_layout)?);
        let (_, width) = query_layout.shape().dims2()?;
        let mut context = vec![0.0; query.len()];
        let mut scratch = vec![0.0; self.longest().pow(2)];
        for head in self.heads(width) {
            let scores = &mut scratch[..head.length * head.length];
            head.probabilities(query, key, scores);
            if let Some(mask) = &self.mask {
                drop_out(scores, head.first_score, mask);
            }
            multiply(1.0, head.square(scores), head.part(value), head.output(&mut context));
        }
        Ok((CpuStorage::F32(context), query_layout.shape().clone()))
    }

    /// The probabilities are computed again rather than kept: they cost a fifth of the products here.
    fn bwd(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        _context: &Tensor,
        context_gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let shape = query.shape();
        let (_, width) = shape.dims2()?;
        let context_gradient = context_gradient.contiguous()?;
        let context_gradient = read(&context_gradient)?;
        let (query, key, value) = (read(query)?, read(key)?, read(value)?);
        let mut query_gradient = vec![0.0; query.len()];
        let mut key_gradient = vec![0.0; query.len()];
        let mut value_gradient = vec![0.0; query.len()];
        let mut scratch = vec![0.0; 3 * self.longest().pow(2)];
        for head in self.heads(width) {
            let square = head.length * head.length;
            let (probabilities, rest) = scratch.split_at_mut(square);
            let (dropped, rest) = rest.split_at_mut(square);
            let gradient = &mut rest[..square];

            head.probabilities(&query, &key, probabilities);
            dropped.copy_from_slice(probabilities);
            if let Some(mask) = &self.mask {
                drop_out(dropped, head.first_score, mask);
            }
            let context_gradient = head.part(&context_gradient);
            multiply(1.0, head.square(dropped).transposed(), context_gradient, head.output(&mut value_gradient));
            multiply(
                1.0,
                context_gradient,
                head.part(&value).transposed(),
                Output { values: gradient, row_stride: head.length, add: false },
            );
            if let Some(mask) = &self.mask {
                drop_out(gradient, head.first_score, mask);
            }
            softmax_backward(probabilities, gradient, head.length);
            let scale = 1.0 / (head.size as f32).sqrt();
            multiply(scale, head.square(gradient), head.part(&key), head.output(&mut query_gradient));
            multiply(scale, head.square(gradient).transposed(), head.part(&query), head.output(&mut key_gradient));
        }
        Ok((
            Some(tensor(query_gradient, shape)?),
            Some(tensor(key_gradient, shape)?),
            Some(tensor(value_gradient, shape)?),
        ))
    }
}

vectorised! {
    /// The gradient of the scores from the gradient of their softmax, in place.
    fn softmax_backward(probabilities: &[f32], gradient: &mut [f32], width: usize) {
        for (probabilities, gradient) in probabilities.chunks_exact(width).zip(gradient.chunks_exact_mut(width)) {
            let mean = sum_of(width, |i| probabilities[i] * gradient[i]);
            for (gradient, probability) in gradient.iter_mut().zip(probabilities) {
                *gradient = probability * (*gradient - mean);
            }
        }
    }
}
