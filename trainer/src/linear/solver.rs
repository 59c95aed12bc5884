//! The support vector machine with squared hinge loss, by dual coordinate descent: Hsieh, Chang,
//! Lin, Keerthi, Sundararajan, "A Dual Coordinate Descent Method for Large-scale Linear SVM" (ICML
//! 2008), algorithm 1, as LIBLINEAR's solver 1 has it.

use crate::random::{Purpose, Random};

/// Projected gradients are all this small at the end.
const TOLERANCE: f64 = 1e-4;

/// Passes after which it ends anyway.
const MAX_PASSES: usize = 2_000;

/// Texts as sparse vectors.
pub(super) struct Rows {
    width: usize,
    entries: Vec<(u32, f32)>,
    /// Where each row ends in `entries`.
    ends: Vec<usize>,
}

impl Rows {
    /// No rows yet, over so many features.
    pub fn new(width: usize) -> Self {
        Self { width, entries: Vec::new(), ends: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, row: impl Iterator<Item = (u32, f32)>) {
        self.entries.extend(row);
        self.ends.push(self.entries.len());
    }

    /// A row's features with their values.
    pub fn get(&self, index: usize) -> &[(u32, f32)] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.entries[start..self.ends[index]]
    }
}

/// What tells one side from the other: positive where the sum of weights and bias is.
#[derive(Debug, PartialEq)]
pub(super) struct Plane {
    pub weights: Vec<f64>,
    pub bias: f64,
}

impl Plane {
    /// The same plane, at another scale.
    pub fn scaled(&self, factor: f64) -> Self {
        let weights = self.weights.iter().map(|weight| weight * factor).collect();
        Self { weights, bias: self.bias * factor }
    }

    /// How far a row is from it, on the positive side or on the other.
    pub fn distance(&self, row: &[(u32, f32)]) -> f64 {
        let terms = row.iter().map(|(feature, value)| self.weights[*feature as usize] * f64::from(*value));
        terms.sum::<f64>() + self.bias
    }

    fn move_by(&mut self, row: &[(u32, f32)], step: f64) {
        for (feature, value) in row {
            self.weights[*feature as usize] += step * f64::from(*value);
        }
        self.bias += step;
    }
}

/// What is learned from a row: on which side of the plane it is (1 or -1), and what an error costs.
/// Several may be of one row.
pub(super) struct Lesson {
    pub row: usize,
    pub sign: f64,
    pub cost: f64,
}

/// The plane with the least `½(|weights|² + bias²) + Σ cost · max(0, 1 - sign · distance)²`.
pub(super) fn separate(rows: &Rows, lessons: &[Lesson]) -> Plane {
    let mut plane = Plane { weights: vec![0.0; rows.width], bias: 0.0 };
    let mut duals = vec![0.0; lessons.len()];
    let diagonal: Vec<f64> = lessons.iter().map(|lesson| 0.5 / lesson.cost).collect();
    let square = |row: &[(u32, f32)]| row.iter().map(|(_, value)| f64::from(value * value)).sum::<f64>();
    let curvature: Vec<f64> =
        lessons.iter().zip(&diagonal).map(|(lesson, diagonal)| 1.0 + square(rows.get(lesson.row)) + diagonal).collect();
    let mut order: Vec<usize> = (0..lessons.len()).collect();
    for pass in 0..MAX_PASSES {
        Random::of(0, Purpose::Order, pass).shuffle(&mut order);
        let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
        for &index in &order {
            let Lesson { row, sign, .. } = lessons[index];
            let row = rows.get(row);
            let gradient = sign * plane.distance(row) - 1.0 + diagonal[index] * duals[index];
            // At its bound, a dual can only grow.
            let projected = if duals[index] == 0.0 { gradient.min(0.0) } else { gradient };
            lowest = lowest.min(projected);
            highest = highest.max(projected);
            if projected.abs() > 1e-12 {
                let before = duals[index];
                duals[index] = (before - gradient / curvature[index]).max(0.0);
                plane.move_by(row, (duals[index] - before) * sign);
            }
        }
        if highest - lowest <= TOLERANCE {
            break;
        }
    }
    plane
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// import numpy as np
    /// from sklearn.svm import LinearSVC
    /// x = [[((7 * i + 3 * j) % 11) / 10 - (j == i % 4) for j in range(5)] for i in range(40)]
    /// y = [1 if (i * i) % 7 < 3 else -1 for i in range(40)]
    /// cost = [0.3 if label > 0 else 0.9 for label in y]
    /// svm = LinearSVC(C=1, tol=1e-12, max_iter=10**7).fit(x, y, sample_weight=cost)
    /// print(svm.coef_, svm.intercept_)
    /// ```
    #[test]
    fn the_plane_is_that_of_scikit_learn() {
        let mut rows = Rows::new(5);
        for i in 0..40_u32 {
            let value = |j: u32| ((7 * i + 3 * j) % 11) as f32 / 10.0 - if j == i % 4 { 1.0 } else { 0.0 };
            rows.push((0..5).map(|j| (j, value(j))));
        }
        let lesson = |row| {
            let (sign, cost) = if (row * row) % 7 < 3 { (1.0, 0.3) } else { (-1.0, 0.9) };
            Lesson { row, sign, cost }
        };
        let plane = separate(&rows, &(0..40).map(lesson).collect::<Vec<_>>());
        for (weight, expected) in plane.weights.iter().chain([&plane.bias]).zip(EXPECTED) {
            assert!((weight - expected).abs() < 1e-4, "{plane:?}");
        }
    }

    const EXPECTED: [f64; 6] = [0.222441, 0.141382, 0.19629, -0.030645, -0.047819, -0.162676];

    #[test]
    fn what_can_be_told_apart_is() {
        let mut rows = Rows::new(3);
        [[(0, 1.0), (2, 0.5)], [(1, 1.0), (2, 0.5)]]
            .into_iter()
            .cycle()
            .take(20)
            .for_each(|row| rows.push(row.into_iter()));
        let sign = |row: usize| if row.is_multiple_of(2) { 1.0 } else { -1.0 };
        let lessons: Vec<Lesson> = (0..20).map(|row| Lesson { row, sign: sign(row), cost: 1.0 }).collect();
        let plane = separate(&rows, &lessons);
        assert!((0..20).all(|row| plane.distance(rows.get(row)) * sign(row) > 0.5), "{plane:?}");
    }
}
