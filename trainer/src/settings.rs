//! Every hyper-parameter of a run, with its reason.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, ensure};
use classifier::DeviceChoice;
use serde::{Serialize, Serializer};

/// Where a run starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A small model with random weights and a vocabulary of the characters of the training texts.
    New,
    /// A checkpoint directory: a classifier, or an encoder that gets a new head.
    Checkpoint(PathBuf),
}

/// How a run learns.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    /// How often every training text is seen.
    pub epochs: usize,
    /// Texts a gradient is computed from at once.
    pub batch_size: usize,
    /// Batches whose gradients are summed before the weights move: a larger batch in the same memory.
    pub accumulation_steps: usize,
    /// Peak of the learning rate.
    pub learning_rate: f64,
    /// Share by which matrices shrink at each step, times the learning rate; biases and LayerNorm do not.
    pub weight_decay: f64,
    /// Share of the steps over which the rate rises from zero; then it falls to zero at the end.
    pub warmup_ratio: f64,
    /// Longest gradient, over all parameters together; longer ones are scaled down to it.
    pub max_grad_norm: f64,
    /// Tokens a text is truncated to, `[CLS]` and `[SEP]` included.
    pub max_length: usize,
    /// Dropout, where it shall differ from the base's configuration.
    pub dropout: Option<f64>,
    /// Share of the input tokens that become `[UNK]` in training, so that no single word decides. It is also what teaches a
    /// new model, whose vocabulary has every character of the training texts, what to make of characters that it never saw.
    pub token_masking: f64,
    /// Steps between evaluations; `None`: at the end of each epoch.
    pub eval_steps: Option<usize>,
    /// Which checkpoint of the run is the best.
    pub best_by: BestBy,
    /// Checkpoints of the run kept beside the best.
    pub save_limit: usize,
    /// Decides the order of the texts, the dropout and new weights. The same seed and number of threads give the same bits.
    pub seed: u64,
    /// Threads a batch is spread over on the CPU.
    pub threads: usize,
    /// Where the model runs.
    #[serde(serialize_with = "as_text")]
    pub device: DeviceChoice,
}

/// What makes a checkpoint better than another on the validation texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BestBy {
    /// Share of texts labeled right.
    #[default]
    Accuracy,
    /// Mean F1 of the classes: for classes of unequal size that matter equally.
    MacroF1,
}

impl Settings {
    /// The defaults for a base: random weights need larger steps and more passes than pretrained ones.
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
            token_masking: 0.0,
            eval_steps: None,
            best_by: BestBy::Accuracy,
            save_limit: 2,
            seed: 42,
            threads: std::thread::available_parallelism().map_or(1, Into::into),
            device: DeviceChoice::Auto,
        };
        match base {
            Base::Checkpoint(_) => pretrained,
            Base::New => Self { epochs: 4, learning_rate: 3e-4, token_masking: 0.15, ..pretrained },
        }
    }

    /// Refuses values under which nothing could be learned.
    pub fn check(&self) -> Result<()> {
        let counts = [
            ("epochs", self.epochs),
            ("batch-size", self.batch_size),
            ("accumulation-steps", self.accumulation_steps),
            ("threads", self.threads),
            ("eval-steps", self.eval_steps.unwrap_or(1)),
        ];
        for (name, count) in counts {
            ensure!(count >= 1, "{name} must be at least 1");
        }
        ensure!(self.max_length >= 3, "max-length must leave room for a token between [CLS] and [SEP]");
        ensure!(self.learning_rate > 0.0 && self.learning_rate.is_finite(), "learning-rate must be above 0");
        ensure!(self.weight_decay >= 0.0 && self.weight_decay.is_finite(), "weight-decay must be at least 0");
        ensure!(self.max_grad_norm > 0.0, "max-grad-norm must be above 0");
        ensure!((0.0..=1.0).contains(&self.warmup_ratio), "warmup-ratio must be between 0 and 1");
        let shares = [("token-masking", self.token_masking), ("dropout", self.dropout.unwrap_or(0.0))];
        for (name, share) in shares {
            ensure!((0.0..1.0).contains(&share), "{name} must be at least 0 and below 1");
        }
        Ok(())
    }
}

impl FromStr for Base {
    type Err = std::convert::Infallible;

    /// `new`, or the path of a checkpoint.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "new" { Self::New } else { Self::Checkpoint(text.into()) })
    }
}

impl fmt::Display for Base {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => out.write_str("new"),
            Self::Checkpoint(directory) => write!(out, "{}", directory.display()),
        }
    }
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_check() {
        for base in ["new", "some/checkpoint"] {
            Settings::for_base(&base.parse().unwrap()).check().unwrap();
        }
    }

    #[test]
    fn settings_that_cannot_learn_are_refused_by_name() {
        let good = Settings::for_base(&Base::New);
        let bad = [
            Settings { epochs: 0, ..good.clone() },
            Settings { learning_rate: f64::NAN, ..good.clone() },
            Settings { warmup_ratio: 1.5, ..good.clone() },
            Settings { dropout: Some(1.0), ..good.clone() },
            Settings { max_length: 2, ..good },
        ];
        let names = ["epochs", "learning-rate", "warmup-ratio", "dropout", "max-length"];
        for (settings, name) in bad.iter().zip(names) {
            let error = settings.check().unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
