//! What a model says of one text.

/// What a model says of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The probability of each class, in the order of the model's classes; they sum to 1.
    pub scores: Vec<f32>,
}

impl Prediction {
    /// The most probable class and its probability; the first of equals.
    pub fn best(&self) -> (usize, f32) {
        let scores = self.scores.iter().copied().enumerate();
        scores.fold((0, f32::NEG_INFINITY), |best, (index, score)| if score > best.1 { (index, score) } else { best })
    }

    /// The softmax of these.
    pub fn from_logits(logits: &[f32]) -> Self {
        let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = logits.iter().map(|logit| (logit - greatest).exp()).collect();
        let sum: f32 = powers.iter().sum();
        Self { scores: powers.iter().map(|power| power / sum).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_class_is_the_first_of_the_most_probable() {
        assert_eq!(Prediction { scores: vec![0.2, 0.4, 0.4] }.best(), (1, 0.4));
    }

    #[test]
    fn scores_sum_to_one_whatever_the_logits() {
        for logits in [vec![0.0, 0.0], vec![1e4, -1e4], vec![-300.0, -301.0, -299.0]] {
            let sum: f32 = Prediction::from_logits(&logits).scores.iter().sum();
            assert!((sum - 1.0).abs() < 1e-6, "{logits:?}: {sum}");
        }
    }
}
