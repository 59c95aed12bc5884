//! How wrong the answers of a batch are.

use anyhow::{Context, Result, ensure};
use bert::Classes;
use candle_core::Tensor;

use crate::batches::{Sample, Taught};
use crate::hyperparameters::{ClassWeights, Hyperparameters};
use crate::lessons::Distillation;

/// Cross entropy with weights for the classes and smoothed labels, as
/// `torch.nn.functional.cross_entropy` computes it; and with what a teacher says, where there is
/// one.
pub(crate) struct Loss {
    /// One a class, in the order of the model's outputs.
    weights: Vec<f64>,
    smoothing: f64,
    distillation: Distillation,
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
        let distillation = settings.distillation.unwrap_or_default();
        Ok(Self { weights, smoothing: settings.label_smoothing, distillation })
    }

    /// What the samples count together: their summed loss is divided by it.
    pub(crate) fn weight<'a>(&self, samples: impl IntoIterator<Item = &'a Sample>) -> f64 {
        samples.into_iter().map(|sample| self.weights[sample.label as usize]).sum()
    }

    /// The loss summed over the rows of the logits.
    pub(crate) fn sum(&self, logits: &Tensor, samples: &[Sample]) -> candle_core::Result<Tensor> {
        let of_people = cross_entropy(logits, self.targets(samples))?;
        if samples.iter().all(|sample| sample.taught.is_none()) {
            return Ok(of_people);
        }
        let Distillation { temperature, .. } = self.distillation;
        of_people + cross_entropy(&(logits / temperature)?, self.taught(samples))?
    }

    /// What each class's log probability counts in each row: most in the right one's.
    fn targets(&self, samples: &[Sample]) -> Vec<f32> {
        let spread = self.smoothing / self.weights.len() as f64;
        let row = |sample: &Sample| {
            let right = sample.label as usize;
            let share = 1.0 - self.of_teacher(sample);
            let weight = move |(class, weight): (usize, &f64)| {
                let own = if class == right { 1.0 - self.smoothing } else { 0.0 };
                ((own + spread) * weight * share) as f32
            };
            self.weights.iter().enumerate().map(weight)
        };
        samples.iter().flat_map(row).collect()
    }

    /// The same of what the teacher says. Gradients shrink by the square of the temperature, and
    /// are made as long as those of labels again.
    fn taught(&self, samples: &[Sample]) -> Vec<f32> {
        let temperature = self.distillation.temperature;
        let row = |sample: &Sample| {
            let weight = self.weights[sample.label as usize] * self.of_teacher(sample) * temperature * temperature;
            let Some(Taught { logits, .. }) = &sample.taught else { return vec![0.0; self.weights.len()] };
            let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let power = |logit: &f32| (f64::from(logit - greatest) / temperature).exp();
            let sum: f64 = logits.iter().map(power).sum();
            logits.iter().map(|logit| (weight * power(logit) / sum) as f32).collect()
        };
        samples.iter().flat_map(row).collect()
    }

    /// What the teacher counts of a text.
    fn of_teacher(&self, sample: &Sample) -> f64 {
        match &sample.taught {
            None => 0.0,
            Some(Taught { is_labeled: true, .. }) => self.distillation.share,
            Some(_) => 1.0,
        }
    }
}

/// Summed over the rows; what each log probability counts stands in `targets`.
///
/// Of elementary operations, all of which have a backward; candle's fused softmax does not.
fn cross_entropy(logits: &Tensor, targets: Vec<f32>) -> candle_core::Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(1)?.detach())?;
    let log_probabilities = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)?;
    let targets = Tensor::from_vec(targets, logits.shape(), logits.device())?;
    (log_probabilities * targets)?.sum_all()?.neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn labeled(label: u32) -> Sample {
        Sample { ids: vec![2, 3], label, taught: None }
    }

    fn plain(weights: Vec<f64>, smoothing: f64) -> Loss {
        Loss { weights, smoothing, distillation: Distillation::default() }
    }

    fn check(loss: &Loss, expected: f32, expected_gradient: [[f32; 3]; 2]) {
        let logits = Var::new(&[[1.0f32, 2.0, -1.0], [50.0, -50.0, 0.0]], &Device::Cpu).unwrap();
        let sum = loss.sum(&logits, &[labeled(2), labeled(0)]).unwrap();
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
        check(&plain(vec![1.0, 1.0, 1.0], 0.0), 3.3490, [[0.2595, 0.7054, -0.9649], [0.0, 0.0, 0.0]]);
        check(&plain(vec![0.5, 1.0, 3.0], 0.0), 10.0470, [[0.7785, 2.1162, -2.8946], [0.0, 0.0, 0.0]]);
        check(&plain(vec![0.5, 1.0, 3.0], 0.1), 17.7447, [[0.7229, 1.977, -2.6999], [0.1333, -0.0333, -0.1]]);
    }

    /// ```python
    /// import torch, torch.nn.functional as F
    /// x = torch.tensor([[1.0, 2.0, -1.0], [50.0, -50.0, 0.0]], requires_grad=True)
    /// t, T, share = torch.tensor([[2.0, 0.0, -1.0], [1.0, 1.0, 4.0]]), 3.0, 0.25
    /// soft = F.kl_div(F.log_softmax(x / T, -1), F.softmax(t / T, -1), reduction="none").sum(-1) * T * T
    /// hard = F.cross_entropy(x, torch.tensor([2, 0]), reduction="none")
    /// l = (1 - share) * hard[0] + share * soft[0] + soft[1]  # the second has no label
    /// l.backward(); print(x.grad)
    /// ```
    #[test]
    fn what_a_teacher_says_has_the_gradient_that_torch_gives_it() {
        let loss = Loss { distillation: Distillation { temperature: 3.0, share: 0.25 }, ..plain(vec![1.0; 3], 0.0) };
        let taught = |logits: [f32; 3], is_labeled| Some(Taught { logits: logits.to_vec(), is_labeled });
        let samples = [
            Sample { taught: taught([2.0, 0.0, -1.0], true), ..labeled(2) },
            Sample { taught: taught([1.0, 1.0, 4.0], false), ..labeled(2) },
        ];
        let logits = Var::new(&[[1.0f32, 2.0, -1.0], [50.0, -50.0, 0.0]], &Device::Cpu).unwrap();
        let sum = loss.sum(&logits, &samples).unwrap();
        let gradient = sum.backward().unwrap().remove(&logits).unwrap().to_vec2::<f32>().unwrap();
        let expected = [[0.0538, 0.6842, -0.7380], [2.3642, -0.6358, -1.7284]];
        for (row, expected) in gradient.iter().zip(expected) {
            for (value, expected) in row.iter().zip(expected) {
                assert!((value - expected).abs() < 1e-4, "{gradient:?}");
            }
        }
    }

    #[test]
    fn balanced_weights_are_those_of_scikit_learn_and_listed_ones_follow_their_names() {
        // `n_samples / (n_classes * np.bincount(y))`
        let train: Vec<Sample> = [0, 0, 0, 1].map(labeled).to_vec();
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
