//! The vectors of all tokens to one a text, forward and backward. BERT's own pooling, a dense layer
//! over `[CLS]`, is a linear layer and no concern of this file.

use std::ops::Range;

use kernels::{exp, sum_of};

/// The rows of a packed batch: (tokens, width), and where each text starts (cumulative).
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    pub rows: &'a [f32],
    pub starts: &'a [usize],
    pub width: usize,
}

impl<'a> Texts<'a> {
    /// The mean of each text's rows.
    pub fn mean(self, pooled: &mut [f32]) {
        for (range, pooled) in self.ranges().zip(pooled.chunks_exact_mut(self.width)) {
            let share = self.width as f32 / range.len() as f32;
            mix(pooled, self.rows_of(range).map(|row| (row, share)));
        }
    }

    pub fn mean_backward(self, pooled_gradient: &[f32], gradient: &mut [f32]) {
        for (range, pooled) in self.ranges().zip(pooled_gradient.chunks_exact(self.width)) {
            let share = self.width as f32 / range.len() as f32;
            for row in gradient[range].chunks_exact_mut(self.width) {
                row.iter_mut().zip(pooled).for_each(|(value, pooled)| *value = share * pooled);
            }
        }
    }

    /// The greatest value of each column in each text's rows.
    pub fn max(self, pooled: &mut [f32]) {
        self.greatest().zip(pooled).for_each(|(place, pooled)| *pooled = self.rows[place]);
    }

    pub fn max_backward(self, pooled_gradient: &[f32], gradient: &mut [f32]) {
        gradient.fill(0.0);
        self.greatest().zip(pooled_gradient).for_each(|(place, pooled)| gradient[place] = *pooled);
    }

    /// The mean of each text's rows, weighted by the softmax of their products with the query.
    pub fn attend(self, query: &[f32], pooled: &mut [f32]) {
        for (range, pooled) in self.ranges().zip(pooled.chunks_exact_mut(self.width)) {
            let shares = self.shares(range.clone(), query);
            mix(pooled, self.rows_of(range).zip(shares));
        }
    }

    /// Adds to the gradient of the query, too.
    pub fn attend_backward(
        self,
        query: &[f32],
        pooled_gradient: &[f32],
        gradient: &mut [f32],
        query_gradient: &mut [f32],
    ) {
        let width = self.width;
        for (range, pooled) in self.ranges().zip(pooled_gradient.chunks_exact(width)) {
            let shares = self.shares(range.clone(), query);
            let slopes: Vec<f32> =
                self.rows_of(range.clone()).map(|row| sum_of(width, |i| row[i] * pooled[i])).collect();
            let mean: f32 = shares.iter().zip(&slopes).map(|(share, slope)| share * slope).sum();
            let rows = gradient[range.clone()].chunks_exact_mut(width).zip(self.rows_of(range));
            for ((gradient, row), (share, slope)) in rows.zip(shares.iter().zip(&slopes)) {
                let of_score = share * (slope - mean);
                for i in 0..width {
                    gradient[i] = share * pooled[i] + of_score * query[i];
                    query_gradient[i] += of_score * row[i];
                }
            }
        }
    }

    /// The rows of each text, as ranges of values.
    fn ranges(self) -> impl Iterator<Item = Range<usize>> + 'a {
        self.starts.windows(2).map(move |pair| pair[0] * self.width..pair[1] * self.width)
    }

    fn rows_of(self, range: Range<usize>) -> impl Iterator<Item = &'a [f32]> {
        self.rows[range].chunks_exact(self.width)
    }

    /// Where the greatest value of each column of each text stands; the first of equals, and a NaN
    /// before any number.
    fn greatest(self) -> impl Iterator<Item = usize> + 'a {
        let Self { rows, width, .. } = self;
        self.ranges().flat_map(move |range| {
            (range.start..range.start + width).map(move |column| {
                let places = (column..range.end).step_by(width);
                places.fold(
                    column,
                    |best, place| {
                        if rows[place] > rows[best] || rows[place].is_nan() { place } else { best }
                    },
                )
            })
        })
    }

    /// The softmax of the products of some rows with the query.
    fn shares(self, range: Range<usize>, query: &[f32]) -> Vec<f32> {
        let scores: Vec<f32> = self.rows_of(range).map(|row| sum_of(self.width, |i| row[i] * query[i])).collect();
        let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = scores.iter().map(|score| exp(score - greatest)).collect();
        let sum: f32 = powers.iter().sum();
        powers.iter().map(|power| power / sum).collect()
    }
}

/// The sum of some rows, each as often as its share says.
fn mix<'a>(sum: &mut [f32], rows: impl Iterator<Item = (&'a [f32], f32)>) {
    sum.fill(0.0);
    for (row, share) in rows {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += share * value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// import torch
    /// x = torch.tensor([[1., 2.], [3., -1.], [0., 5.]], requires_grad=True); q = torch.tensor([0.5, -1.], requires_grad=True)
    /// p = torch.softmax(x @ q, 0); y = p @ x; (y * torch.tensor([1., 2.])).sum().backward(); print(y, x.grad, q.grad)
    /// ```
    #[test]
    fn attention_pooling_is_that_of_torch() {
        let texts = Texts { rows: &[1.0, 2.0, 3.0, -1.0, 0.0, 5.0], starts: &[0, 3], width: 2 };
        let query = [0.5, -1.0];
        let (mut pooled, mut gradient, mut query_gradient) = ([0.0; 2], [0.0; 6], [0.0; 2]);
        texts.attend(&query, &mut pooled);
        texts.attend_backward(&query, &[1.0, 2.0], &mut gradient, &mut query_gradient);
        let close = |found: &[f32], expected: &[f32]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}");
        };
        close(&pooled, &[2.96242, -0.94281]);
        close(&gradient, &[0.05324, -0.03457, 0.9438, 2.03833, 0.00296, -0.00376]);
        close(&query_gradient, &[-0.15558, 0.24064]);
    }
}
