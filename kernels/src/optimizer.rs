//! What a step of training does to each number of a parameter: one pass over memory, since memory
//! is all that it waits for.

use crate::vectorised;

/// What a step of AdamW multiplies with, corrections for the first steps included.
#[derive(Clone, Copy, Debug)]
pub struct AdamFactors {
    /// Of the gradient: below 1 where it is clipped.
    pub gradient: f32,
    /// Of the parameter: below 1 where it decays.
    pub decay: f32,
    /// The share of each running moment that stays: of the gradient, and of its square.
    pub kept: [f32; 2],
    /// The learning rate over the correction of the first moment.
    pub rate: f32,
    /// One over the root of the correction of the second moment.
    pub correction: f32,
    /// What keeps the divisor from 0.
    pub epsilon: f32,
}

vectorised! {
    /// Moves a parameter and the running moments of its gradient by one step of AdamW (Loshchilov
    /// and Hutter, 2019), as `torch.optim.AdamW` computes it.
    pub fn adamw(
        parameter: &mut [f32],
        gradient: &[f32],
        first: &mut [f32],
        second: &mut [f32],
        factors: AdamFactors,
    ) {
        let AdamFactors { gradient: scale, decay, kept: [kept_first, kept_second], rate, correction, epsilon } = factors;
        let moments = first.iter_mut().zip(second);
        for ((parameter, gradient), (first, second)) in parameter.iter_mut().zip(gradient).zip(moments) {
            let gradient = gradient * scale;
            *first = kept_first * *first + (1.0 - kept_first) * gradient;
            *second = kept_second * *second + (1.0 - kept_second) * gradient * gradient;
            *parameter = *parameter * decay - rate * *first / (second.sqrt() * correction + epsilon);
        }
    }
}

/// The sum of the squares, in f64, where those of f32 neither overflow nor vanish; in the same
/// order on every machine.
pub fn sum_of_squares(values: &[f32]) -> f64 {
    let mut sum = 0.0;
    add_squares(values, &mut sum);
    sum
}

vectorised! {
    fn add_squares(values: &[f32], sum: &mut f64) {
        let mut sums = [0.0_f64; 16];
        let (blocks, rest) = values.as_chunks::<16>();
        for block in blocks {
            for (sum, value) in sums.iter_mut().zip(block) {
                *sum += f64::from(*value) * f64::from(*value);
            }
        }
        *sum += sums.iter().sum::<f64>() + rest.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_of_numbers_that_f32_cannot_square_are_summed() {
        let mut values = vec![3.0_f32; 35];
        values[34] = 1e30;
        values[0] = 0.0;
        assert_eq!(sum_of_squares(&values[..34]), 9.0 * 33.0);
        assert_eq!(sum_of_squares(&values), 9.0 * 33.0 + f64::from(1e30_f32).powi(2));
        assert_eq!(sum_of_squares(&[]), 0.0);
    }

    /// ```python
    /// import torch
    /// w = torch.nn.Parameter(torch.full((35,), 0.5)); w.grad = torch.full((35,), 0.2)
    /// torch.optim.AdamW([w], lr=0.1, weight_decay=0.1).step(); print(w[0].item(), w[34].item())
    /// ```
    #[test]
    fn every_number_of_a_slice_is_moved_whatever_its_length() {
        let mut slices = [vec![0.5_f32; 35], vec![0.0; 35], vec![0.0; 35]];
        let factors = AdamFactors {
            gradient: 0.5,
            decay: 1.0 - 0.1 * 0.1,
            kept: [0.9, 0.999],
            rate: 0.1 / (1.0 - 0.9),
            correction: 1.0 / (1.0_f32 - 0.999).sqrt(),
            epsilon: 1e-8,
        };
        let [parameter, first, second] = &mut slices;
        adamw(parameter, &[0.4; 35], first, second, factors);
        assert!(parameter.iter().all(|value| (value - 0.395).abs() < 1e-5), "{parameter:?}");
        assert!(first.iter().all(|value| (value - 0.02).abs() < 1e-6) && second.iter().all(|value| *value > 0.0));
    }
}
