//! What is done to each row of a matrix.

use super::numbers::{exp, sum_of};
use crate::vectorised;

vectorised! {
    /// The softmax of each row, in place.
    pub fn softmax(scores: &mut [f32], width: usize) {
        for row in scores.chunks_exact_mut(width) {
            let greatest = row.iter().fold(f32::NEG_INFINITY, |greatest, score| greatest.max(*score));
            for score in row {
                *score -= greatest;
            }
        }
        for score in &mut *scores {
            *score = exp(*score);
        }
        for row in scores.chunks_exact_mut(width) {
            let scale = 1.0 / sum_of(width, |i| row[i]);
            for score in row {
                *score *= scale;
            }
        }
    }
}

/// Mean and (biased) standard deviation.
#[inline(always)]
pub fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = sum_of(row.len(), |i| row[i]) / count;
    let variance = sum_of(row.len(), |i| (row[i] - mean) * (row[i] - mean)) / count;
    (mean, (variance + epsilon).sqrt())
}
