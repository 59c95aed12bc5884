//! How wrong the answers of a batch are.

use anyhow::{Context, Result, ensure};
use bert::Classes;
use candle_core::Tensor;

use crate::batches::Sample;
use crate::hyperparameters::{ClassWeights, Hyperparameters};

/// Cross entropy with weights for the classes and smoothed labels, as
/// `torch.nn.functional.cross_entropy` computes it.
pub(crate) struct Loss {
    /// One a class, in the order of the model's outputs.
    weights: Vec<f64>,
    smoothing: f64,
}

impl Loss {
    /// The weights that the settings name are in the order of the data's classes, `names`; the
    /// model may have another.
    pub(crate) fn new(
        settings: &Hyperparameters,
        names: &[String],
        classes: &Classes,
        train: &[Sample],
    ) -> Result<Self> {
        let mut weights = vec![1.0; classes.len()];
        match &settings.class_weights {
            ClassWeights::None => {}
            ClassWeights::Balanced => {
                let mut counts = vec![0usize; classes.len()];
                for sample in train {
                    counts[sample.label as usize] += 1;
                }
                for (weight, count) in weights.iter_mut().zip(counts) {
                    *weight = train.len() as f64 / (classes.len() * count.max(1)) as f64;
                }
            }
            ClassWeights::Each(given) => {
                ensure!(
                    given.len() == names.len(),
                    "class-weights names {}, there are {} classes",
                    given.len(),
                    names.len()
                );
                for (name, weight) in names.iter().zip(given) {
                    let class =
                        classes.index(name).with_context(|| format!("the model has no class {name:?}: a bug"))?;
                    weights[class] = *weight;
                }
            }
        }
        Ok(Self { weights, smoothing: settings.label_smoothing })
    }

    /// What the samples count together: their summed loss is divided by it.
    pub(crate) fn weight<'a>(&self, samples: impl IntoIterator<Item = &'a Sample>) -> f64 {
        samples.into_iter().map(|sample| self.weights[sample.label as usize]).sum()
    }

    /// The loss summed over the rows of the logits.
    ///
    /// Of elementary operations, all of which have a backward; candle's fused softmax does not.
    pub(crate) fn sum(&self, logits: &Tensor, labels: &[u32]) -> candle_core::Result<Tensor> {
        let shifted = logits.broadcast_sub(&logits.max_keepdim(1)?.detach())?;
        let log_probabilities = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)?;
        let targets = Tensor::from_vec(self.targets(labels), logits.shape(), logits.device())?;
        (log_probabilities * targets)?.sum_all()?.neg()
    }

    /// What each class's log probability counts in each row: most in the right one's.
    fn targets(&self, labels: &[u32]) -> Vec<f32> {
        let spread = self.smoothing / self.weights.len() as f64;
        let row = |label: &u32| {
            let right = *label as usize;
            let weight = move |(class, weight): (usize, &f64)| {
                let own = if class == right { 1.0 - self.smoothing } else { 0.0 };
                ((own + spread) * weight) as f32
            };
            self.weights.iter().enumerate().map(weight)
        };
        labels.iter().flat_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn check(loss: &Loss, expected: f32, expected_gradient: [[f32; 3]; 2]) {
        let logits = Var::new(&[[1.0f32, 2.0, -1.0], [50.0, -50.0, 0.0]], &Device::Cpu).unwrap();
        let sum = loss.sum(&logits, &[2, 0]).unwrap();
        assert!((sum.to_scalar::<f32>().unwrap() - expected).abs() < 2e-4, "{sum}");
        let gradient = sum.backward().unwrap().remove(&logits).unwrap().to_vec2::<f32>().unwrap();
        for (row, expected) in gradient.iter().zip(expected_gradient) {
            for (value, expected) in row.iter().zip(expected) {
                assert!((value - expected).abs() < 1e-4, "{gradient:?}");
            }
        }
    }

    /// ```python
    /// import torch
    /// for w, s in [([1.0, 1.0, 1.0], 0.0), ([0.5, 1.0, 3.0], 0.0), ([0.5, 1.0, 3.0], 0.1)]:
    ///     x = torch.tensor([[1.0, 2.0, -1.0], [50.0, -50.0, 0.0]], requires_grad=True)
    ///     l = torch.nn.functional.cross_entropy(x, torch.tensor([2, 0]), torch.tensor(w), reduction="sum", label_smoothing=s)
    ///     l.backward(); print(l.item(), x.grad)
    /// ```
    #[test]
    fn the_loss_and_its_gradient_are_those_of_torch() {
        check(
            &Loss { weights: vec![1.0, 1.0, 1.0], smoothing: 0.0 },
            3.3490,
            [[0.2595, 0.7054, -0.9649], [0.0, 0.0, 0.0]],
        );
        check(
            &Loss { weights: vec![0.5, 1.0, 3.0], smoothing: 0.0 },
            10.0470,
            [[0.7785, 2.1162, -2.8946], [0.0, 0.0, 0.0]],
        );
        check(
            &Loss { weights: vec![0.5, 1.0, 3.0], smoothing: 0.1 },
            17.7447,
            [[0.7229, 1.977, -2.6999], [0.1333, -0.0333, -0.1]],
        );
    }

    #[test]
    fn balanced_weights_are_those_of_scikit_learn_and_listed_ones_follow_their_names() {
        // `n_samples / (n_classes * np.bincount(y))`
        let sample = |label| Sample { ids: vec![2, 3], label };
        let train: Vec<Sample> = [0, 0, 0, 1].map(sample).to_vec();
        let names = ["a".to_owned(), "b".to_owned()];
        let settings =
            |class_weights| Hyperparameters { class_weights, ..Hyperparameters::for_base(&"x".parse().unwrap()) };
        let balanced = settings(ClassWeights::Balanced);
        let loss = Loss::new(&balanced, &names, &Classes::new(names.to_vec()), &train).unwrap();
        assert_eq!(loss.weights, [4.0 / 6.0, 2.0]);
        assert!((loss.weight(&train) - 4.0).abs() < 1e-12);

        let each = settings(ClassWeights::Each(vec![1.0, 5.0]));
        let reversed = Classes::new(vec!["b".to_owned(), "a".to_owned()]);
        assert_eq!(Loss::new(&each, &names, &reversed, &train).unwrap().weights, [5.0, 1.0]);
        assert!(Loss::new(&each, &names[..1], &reversed, &train).is_err());
    }
}
