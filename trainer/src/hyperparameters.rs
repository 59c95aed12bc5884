//! Every hyper-parameter of a run, with its reason: what the model becomes depends on these, and
//! its manifest names them.

use std::str::FromStr;

use anyhow::{Result, ensure};
use classifier::Pooling;
use serde::Serialize;

use crate::base::Base;
use crate::lessons::Distillation;
use crate::metrics::BestBy;
use crate::precision::ProductPrecision;

/// How a run learns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hyperparameters {
    /// How often every training text is seen.
    pub epochs: usize,
    /// Texts a gradient is computed from at once.
    pub batch_size: usize,
    /// Batches whose gradients are summed before the weights move: a larger batch in the same
    /// memory.
    pub accumulation_steps: usize,
    /// Peak of the learning rate.
    pub learning_rate: f64,
    /// Share by which matrices shrink at each step, times the learning rate; biases and LayerNorm
    /// do not.
    pub weight_decay: f64,
    /// Share of the steps over which the rate rises from zero; then it falls to zero at the end.
    pub warmup_ratio: f64,
    /// Longest gradient, over all parameters together; longer ones are scaled down to it.
    pub max_grad_norm: f64,
    /// Tokens a text is truncated to, `[CLS]` and `[SEP]` included.
    pub max_length: usize,
    /// Dropout, where it shall differ from the base's configuration.
    pub dropout: Option<f64>,
    /// How a text's tokens become the vector that is classified; `None`: as the base has it.
    pub pooling: Option<Pooling>,
    /// Share of the input tokens that become `[UNK]` in training, so that no single word decides.
    /// It also teaches a new model, whose vocabulary has every character of the training texts,
    /// what to make of characters it never saw.
    pub token_masking: f64,
    /// Decay of the average of the weights over the steps, which is then what is evaluated and
    /// saved; `None`: the weights themselves. An average is calmer than the last weights, and so
    /// often better where there are few texts.
    pub average: Option<f64>,
    /// What each class counts in the loss.
    pub class_weights: ClassWeights,
    /// Share of each label that is spread over all classes: keeps the model from being too sure of
    /// labels that may be wrong.
    pub label_smoothing: f64,
    /// What each layer's learning rate is of that of the layer above it: below 1, what is near the
    /// input changes less.
    pub layer_decay: f64,
    /// `Some(n)`: the embeddings and the first `n` layers stay as they are, and no gradient is
    /// computed for them.
    pub freeze: Option<usize>,
    /// Epochs between evaluations.
    pub eval_epochs: usize,
    /// Steps between evaluations, in place of epochs.
    pub eval_steps: Option<usize>,
    /// Evaluations without a better one after which the run ends.
    pub patience: Option<usize>,
    /// Which checkpoint of the run is the best.
    pub best_by: BestBy,
    /// Decides the order of the texts, the dropout and new weights.
    pub seed: u64,
    /// What matrices are multiplied in.
    pub precision: ProductPrecision,
    /// How it learns from a teacher, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distillation: Option<Distillation>,
}

/// What each class counts in the loss.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// All the same.
    #[default]
    None,
    /// As much as all others together, however few its texts are: texts / (classes · texts of the
    /// class).
    Balanced,
    /// So much each, in the order of the data's classes.
    Each(Vec<f64>),
}

impl FromStr for ClassWeights {
    type Err = std::num::ParseFloatError;

    /// `none`, `balanced`, or numbers with commas between them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "none" => Self::None,
            "balanced" => Self::Balanced,
            numbers => Self::Each(numbers.split(',').map(|number| number.trim().parse()).collect::<Result<_, _>>()?),
        })
    }
}

impl Hyperparameters {
    /// The defaults for a base: random weights need larger steps and more passes than pretrained
    /// ones.
    pub fn for_base(base: &Base) -> Self {
        let pretrained = Self {
            epochs: 3,
            batch_size: 32,
            accumulation_steps: 1,
            learning_rate: 5e-5,
            weight_decay: 0.01,
            warmup_ratio: 0.1,
            max_grad_norm: 1.0,
            max_length: 128,
            dropout: None,
            pooling: None,
            token_masking: 0.0,
            average: None,
            class_weights: ClassWeights::None,
            label_smoothing: 0.0,
            layer_decay: 1.0,
            freeze: None,
            eval_epochs: 1,
            eval_steps: None,
            patience: None,
            best_by: BestBy::default(),
            seed: 42,
            precision: ProductPrecision::Auto,
            distillation: None,
        };
        match base {
            Base::Checkpoint(_) => pretrained,
            Base::New | Base::NewLinear | Base::NewBert => {
                Self { epochs: 4, learning_rate: 3e-4, token_masking: 0.15, average: Some(0.998), ..pretrained }
            }
        }
    }

    /// Refuses values under which nothing could be learned.
    ///
    /// # Errors
    /// The first such value, by its flag's name.
    pub fn check(&self) -> Result<()> {
        let counts = [
            ("epochs", self.epochs),
            ("batch-size", self.batch_size),
            ("accumulation-steps", self.accumulation_steps),
            ("eval-epochs", self.eval_epochs),
            ("eval-steps", self.eval_steps.unwrap_or(1)),
            ("patience", self.patience.unwrap_or(1)),
        ];
        for (name, count) in counts {
            ensure!(count >= 1, "{name} must be at least 1");
        }
        ensure!(self.max_length >= 3, "max-length must leave room for a token between [CLS] and [SEP]");
        ensure!(self.learning_rate > 0.0 && self.learning_rate.is_finite(), "learning-rate must be above 0");
        ensure!(self.weight_decay >= 0.0 && self.weight_decay.is_finite(), "weight-decay must be at least 0");
        ensure!(self.max_grad_norm > 0.0, "max-grad-norm must be above 0");
        ensure!((0.0..=1.0).contains(&self.warmup_ratio), "warmup-ratio must be between 0 and 1");
        let shares = [
            ("token-masking", self.token_masking),
            ("dropout", self.dropout.unwrap_or(0.0)),
            ("average", self.average.unwrap_or(0.0)),
            ("label-smoothing", self.label_smoothing),
        ];
        for (name, share) in shares {
            ensure!((0.0..1.0).contains(&share), "{name} must be at least 0 and below 1");
        }
        ensure!(self.layer_decay > 0.0 && self.layer_decay <= 1.0, "layer-decay must be above 0 and at most 1");
        if let Some(Distillation { temperature, share }) = self.distillation {
            ensure!(temperature > 0.0 && temperature.is_finite(), "temperature must be above 0");
            ensure!((0.0..=1.0).contains(&share), "teacher-share must be between 0 and 1");
        }
        if let ClassWeights::Each(weights) = &self.class_weights {
            let is_weight = |weight: &f64| *weight >= 0.0 && weight.is_finite();
            ensure!(weights.iter().all(is_weight), "class-weights must be at least 0");
            ensure!(weights.iter().any(|weight| *weight > 0.0), "class-weights must not all be 0");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_check() {
        for base in ["new", "new-linear", "new-bert", "some/checkpoint"] {
            Hyperparameters::for_base(&base.parse().unwrap()).check().unwrap();
        }
    }

    #[test]
    fn hyperparameters_that_cannot_learn_are_refused_by_name() {
        let good = Hyperparameters::for_base(&Base::NewBert);
        let bad = [
            ("epochs", Hyperparameters { epochs: 0, ..good.clone() }),
            ("learning-rate", Hyperparameters { learning_rate: f64::NAN, ..good.clone() }),
            ("warmup-ratio", Hyperparameters { warmup_ratio: 1.5, ..good.clone() }),
            ("dropout", Hyperparameters { dropout: Some(1.0), ..good.clone() }),
            ("max-length", Hyperparameters { max_length: 2, ..good.clone() }),
            ("average", Hyperparameters { average: Some(1.0), ..good.clone() }),
            ("layer-decay", Hyperparameters { layer_decay: 0.0, ..good.clone() }),
            ("class-weights", Hyperparameters { class_weights: ClassWeights::Each(vec![1.0, -1.0]), ..good.clone() }),
            ("patience", Hyperparameters { patience: Some(0), ..good }),
        ];
        for (name, hyperparameters) in bad {
            let error = hyperparameters.check().unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
