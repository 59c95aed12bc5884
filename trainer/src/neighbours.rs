//! Vectors that lean on their neighbours: a text that nobody has labeled says what a labeled one
//! like it means.
//!
//! Each vector becomes the mean of itself and of its nearest neighbours among the texts without
//! labels (one step of Wu and others, "Simplifying Graph Convolutional Networks", ICML 2019, over
//! the graph of nearest neighbours). With a hundred labels that is worth most of a point of
//! accuracy (`bench/results/2026-11-26-few-labels.md`), with a thousand nothing.

use anyhow::Result;
use candle_core::{Device, Tensor};

/// Neighbours of each text.
const NEIGHBOURS: usize = 20;
/// Texts that neighbours are looked for among; fewer than [`FEW`] tell nothing.
const LANDMARKS: usize = 4_000;
const FEW: usize = 200;
/// Two texts that are so near are one.
const SAME: f32 = 0.9999;
/// Rows that are compared at once.
const ROWS: usize = 512;

/// The vectors, which have length 1, with their neighbours' among those from `first` on.
///
/// # Errors
/// Only what candle may say of a product.
pub(crate) fn smoothed(vectors: Vec<Vec<f32>>, first: usize) -> Result<Vec<Vec<f32>>> {
    let landmarks = &vectors[first..vectors.len().min(first + LANDMARKS)];
    if landmarks.len() < FEW {
        return Ok(vectors);
    }
    let width = vectors[0].len();
    let tensor = |rows: &[Vec<f32>]| Tensor::from_vec(rows.concat(), (rows.len(), width), &Device::Cpu);
    let transposed = tensor(landmarks)?.t()?.contiguous()?;
    let mut smoothed = Vec::with_capacity(vectors.len());
    for rows in vectors.chunks(ROWS) {
        let alike = tensor(rows)?.matmul(&transposed)?.to_vec2::<f32>()?;
        smoothed.extend(rows.iter().zip(alike).map(|(row, alike)| leaning(row, &alike, landmarks)));
    }
    Ok(smoothed)
}

/// A vector and the mean of its neighbours', together of length 1.
fn leaning(row: &[f32], alike: &[f32], landmarks: &[Vec<f32>]) -> Vec<f32> {
    let mut others: Vec<usize> = (0..alike.len()).filter(|other| alike[*other] < SAME).collect();
    let count = NEIGHBOURS.min(others.len());
    if count == 0 {
        return row.to_vec();
    }
    // Of equals the first, so that the order of the search does not matter.
    others.select_nth_unstable_by(count - 1, |one, other| alike[*other].total_cmp(&alike[*one]).then(one.cmp(other)));
    others.truncate(count);
    others.sort_unstable();
    let mut leaning = row.to_vec();
    for other in others {
        leaning.iter_mut().zip(&landmarks[other]).for_each(|(sum, value)| *sum += value / count as f32);
    }
    let length = leaning.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    leaning.iter_mut().for_each(|value| *value /= length);
    leaning
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Vectors around two directions, with noise in all.
    fn vectors(count: usize) -> Vec<Vec<f32>> {
        let mut random = Random::new(5);
        let vector = |index: usize| {
            let mut vector: Vec<f32> = (0..16).map(|_| random.uniform() as f32 - 0.5).collect();
            vector[index % 2] += 1.0;
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            vector.iter().map(|value| value / length).collect()
        };
        (0..count).map(vector).collect()
    }

    fn cosine(one: &[f32], other: &[f32]) -> f32 {
        one.iter().zip(other).map(|(one, other)| one * other).sum()
    }

    #[test]
    fn texts_of_one_kind_come_near_each_other_and_stay_of_length_1() {
        let before = vectors(600);
        let after = smoothed(before.clone(), 20).unwrap();
        assert!((cosine(&before[0], &before[2]) - cosine(&before[0], &before[1])).abs() < 1.0);
        let gap = |vectors: &[Vec<f32>]| {
            let mean =
                |step: usize| (0..18).map(|index| cosine(&vectors[index], &vectors[index + step])).sum::<f32>() / 18.0;
            mean(2) - mean(1)
        };
        assert!(gap(&after) > gap(&before) + 0.1, "{} after {}", gap(&after), gap(&before));
        assert!(after.iter().all(|vector| (cosine(vector, vector) - 1.0).abs() < 1e-5));
    }

    #[test]
    fn a_text_is_no_neighbour_of_itself_and_few_texts_are_left_as_they_are() {
        let few = vectors(150);
        assert_eq!(smoothed(few.clone(), 0).unwrap(), few);
        let copies = vec![vec![1.0, 0.0]; 300];
        assert_eq!(smoothed(copies.clone(), 0).unwrap(), copies);
    }
}
