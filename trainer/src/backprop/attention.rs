//! Self-attention inside each text of a packed batch, forward and backward:
//! `dropout(softmax(query · keyᵀ / √d)) · value` for each head of each text.

use std::ops::Range;

use bert::Mask;
use kernels::{Matrix, Output, multiply, softmax, sum_of, vectorised};

use super::dropout::drop_out;
use super::rows::Rows;

/// The attention of one layer to one batch. Keys and values are (tokens, heads · d); queries and
/// results are (rows, heads · d).
#[derive(Clone, Copy)]
pub(super) struct Attention<'a> {
    /// Cumulative lengths of the texts.
    pub starts: &'a [usize],
    pub heads: usize,
    pub mask: Option<Mask>,
    /// The tokens that ask.
    pub queries: Rows<'a>,
}

/// Queries, keys and values, or their gradients.
pub(super) struct Operands<T> {
    pub query: T,
    pub key: T,
    pub value: T,
}

impl Attention<'_> {
    /// What the queries find.
    pub fn forward(&self, operands: Operands<&[f32]>, width: usize, context: &mut [f32]) {
        let mut scratch = Vec::new();
        for head in self.heads(width) {
            let scores = part(&mut scratch, head.square());
            head.probabilities(operands.query, operands.key, scores);
            if let Some(mask) = &self.mask {
                drop_out(scores, head.first_score, mask);
            }
            multiply(1.0, head.scores(scores), head.tokens.part(operands.value), head.queries.output(context));
        }
    }

    /// The gradients of the operands from that of the result.
    ///
    /// The probabilities are computed again rather than kept: they cost a fifth of the products
    /// here.
    pub fn backward(
        &self,
        operands: Operands<&[f32]>,
        width: usize,
        context_gradient: &[f32],
        gradients: Operands<&mut [f32]>,
    ) {
        let Operands { query, key, value } = operands;
        let mut scratch = Vec::new();
        for head in self.heads(width) {
            let (probabilities, rest) = part(&mut scratch, 3 * head.square()).split_at_mut(head.square());
            let (dropped, gradient) = rest.split_at_mut(head.square());

            head.probabilities(query, key, probabilities);
            dropped.copy_from_slice(probabilities);
            if let Some(mask) = &self.mask {
                drop_out(dropped, head.first_score, mask);
            }
            let context_gradient = head.queries.part(context_gradient);
            multiply(1.0, head.scores(dropped).transposed(), context_gradient, head.tokens.output(gradients.value));
            multiply(1.0, context_gradient, head.tokens.part(value).transposed(), head.scores_output(gradient));
            if let Some(mask) = &self.mask {
                drop_out(gradient, head.first_score, mask);
            }
            softmax_backward(probabilities, gradient, head.tokens.count);
            let scale = head.scale();
            multiply(scale, head.scores(gradient), head.tokens.part(key), head.queries.output(gradients.query));
            multiply(
                scale,
                head.scores(gradient).transposed(),
                head.queries.part(query),
                head.tokens.output(gradients.key),
            );
        }
    }

    fn heads(&self, width: usize) -> impl Iterator<Item = Head> {
        let size = width / self.heads;
        let texts = self.starts.windows(2).zip(first_scores(self.starts, self.heads));
        texts.enumerate().flat_map(move |(text, (pair, first_score))| {
            let length = pair[1] - pair[0];
            let queries = match self.queries {
                Rows::Tokens => pair[0]..pair[1],
                Rows::First(_) => text..text + 1,
            };
            (0..self.heads).map(move |head| {
                let block = |rows: Range<usize>| Block {
                    first: rows.start * width + head * size,
                    end: (rows.end - 1) * width + (head + 1) * size,
                    count: rows.len(),
                    size,
                    width,
                };
                Head {
                    queries: block(queries.clone()),
                    tokens: block(pair[0]..pair[1]),
                    first_score: first_score + head * length * length,
                }
            })
        })
    }
}

/// The number of the first attention probability of each text: what dropout masks count by. A text
/// of `n` tokens has `heads · n²`.
fn first_scores(starts: &[usize], heads: usize) -> impl Iterator<Item = usize> {
    starts.windows(2).scan(0, move |next, pair| {
        let first = *next;
        *next += heads * (pair[1] - pair[0]).pow(2);
        Some(first)
    })
}

/// One head of one text.
struct Head {
    queries: Block,
    tokens: Block,
    /// The number of its first probability.
    first_score: usize,
}

/// Where the values of one head stand in some rows of a matrix.
struct Block {
    first: usize,
    end: usize,
    /// Rows.
    count: usize,
    /// Size of the head.
    size: usize,
    /// Values from one row to the next.
    width: usize,
}

impl Head {
    /// How many probabilities there are.
    fn square(&self) -> usize {
        self.queries.count * self.tokens.count
    }

    fn scale(&self) -> f32 {
        1.0 / (self.tokens.size as f32).sqrt()
    }

    fn scores<'a>(&self, scores: &'a [f32]) -> Matrix<'a> {
        Matrix::new(scores, self.queries.count, self.tokens.count)
    }

    fn scores_output<'a>(&self, values: &'a mut [f32]) -> Output<'a> {
        Output { values, row_stride: self.tokens.count, add: false }
    }

    /// `softmax(query · keyᵀ / √size)`.
    fn probabilities(&self, query: &[f32], key: &[f32], scores: &mut [f32]) {
        let (query, key) = (self.queries.part(query), self.tokens.part(key));
        multiply(self.scale(), query, key.transposed(), self.scores_output(scores));
        softmax(scores, self.tokens.count);
    }
}

impl Block {
    fn part<'a>(&self, whole: &'a [f32]) -> Matrix<'a> {
        Matrix::strided(&whole[self.first..self.end], self.count, self.size, self.width)
    }

    fn output<'a>(&self, whole: &'a mut [f32]) -> Output<'a> {
        Output { values: &mut whole[self.first..self.end], row_stride: self.width, add: false }
    }
}

/// So many values of scratch memory, whatever they are.
fn part(scratch: &mut Vec<f32>, size: usize) -> &mut [f32] {
    if scratch.len() < size {
        scratch.resize(size, 0.0);
    }
    &mut scratch[..size]
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
