//! Every hyper-parameter of a run, with its reason.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, ensure};
use bert::Pooling;
use classifier::{Device, DeviceChoice};
use serde::{Serialize, Serializer};

use crate::metrics::BestBy;
use crate::replica::Replica;

/// Where a run starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// The best that can be had from the labels alone: a linear model, and the small BERT where it is clearly better.
    New,
    /// A linear model of character n-grams.
    NewLinear,
    /// A small BERT with random weights and a vocabulary of the characters of the training texts.
    NewBert,
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
    /// How a text's tokens become the vector that is classified; `None`: as the base has it.
    pub pooling: Option<Pooling>,
    /// Share of the input tokens that become `[UNK]` in training, so that no single word decides. It is also what teaches a
    /// new model, whose vocabulary has every character of the training texts, what to make of characters that it never saw.
    pub token_masking: f64,
    /// Decay of the average of the weights over the steps, which is then what is evaluated and saved; `None`: the weights
    /// themselves. An average is calmer than the last weights, and so often better where there are few texts.
    pub average: Option<f64>,
    /// What each class counts in the loss.
    pub class_weights: ClassWeights,
    /// Share of each label that is spread over all classes: keeps the model from being too sure of labels that may be wrong.
    pub label_smoothing: f64,
    /// What each layer's learning rate is of that of the layer above it: below 1, what is near the input changes less.
    pub layer_decay: f64,
    /// `Some(n)`: the embeddings and the first `n` layers stay as they are, and no gradient is computed for them.
    pub freeze: Option<usize>,
    /// Epochs between evaluations.
    pub eval_epochs: usize,
    /// Steps between evaluations, in place of epochs.
    pub eval_steps: Option<usize>,
    /// Evaluations without a better one after which the run ends.
    pub patience: Option<usize>,
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
    /// What it multiplies matrices in.
    pub precision: ProductPrecision,
    /// A directory where the state of the run is kept, and from which a run that was killed goes on.
    #[serde(skip)]
    pub state: Option<PathBuf>,
    /// Steps between two writings of the state; `None`: after each evaluation.
    #[serde(skip)]
    pub save_steps: Option<usize>,
    /// Our place among processes that train together, each with its share of every batch.
    #[serde(skip)]
    pub replica: Option<Replica>,
}

/// What matrices are multiplied in. Weights, their moments and gradients, LayerNorm, softmax and the loss are f32 with each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProductPrecision {
    /// bf16 on a GPU, f32 on the CPU.
    #[default]
    Auto,
    /// f32.
    F32,
    /// bf16, which a GPU multiplies many times faster. A CPU does not train in it.
    Bf16,
}

impl ProductPrecision {
    /// Whether it means bf16 on this device.
    pub fn is_bf16(self, device: &Device) -> bool {
        match self {
            Self::Auto => !device.is_cpu(),
            Self::F32 => false,
            Self::Bf16 => true,
        }
    }
}

/// A name that is no precision's.
#[derive(Debug)]
pub struct UnknownProductPrecision(String);

impl std::error::Error for UnknownProductPrecision {}

impl fmt::Display for UnknownProductPrecision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "no precision is called {:?}; there are auto, f32 and bf16", self.0)
    }
}

impl FromStr for ProductPrecision {
    type Err = UnknownProductPrecision;

    fn from_str(text: &str) -> Result<Self, UnknownProductPrecision> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(UnknownProductPrecision(text.to_owned())),
        }
    }
}

impl fmt::Display for ProductPrecision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// What each class counts in the loss.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// All the same.
    #[default]
    None,
    /// As much as all others together, however few its texts are: texts / (classes · texts of the class).
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
            pooling: None,
            token_masking: 0.0,
            average: None,
            class_weights: ClassWeights::None,
            label_smoothing: 0.0,
            layer_decay: 1.0,
            freeze: None,
            eval_epochs: 1,
            patience: None,
            eval_steps: None,
            best_by: BestBy::default(),
            save_limit: 2,
            seed: 42,
            threads: std::thread::available_parallelism().map_or(1, Into::into),
            device: DeviceChoice::Auto,
            precision: ProductPrecision::Auto,
            state: None,
            save_steps: None,
            replica: None,
        };
        match base {
            Base::Checkpoint(_) => pretrained,
            Base::New | Base::NewLinear | Base::NewBert => {
                Self { epochs: 4, learning_rate: 3e-4, token_masking: 0.15, average: Some(0.998), ..pretrained }
            }
        }
    }

    /// Refuses values under which nothing could be learned.
    pub fn check(&self) -> Result<()> {
        let counts = [
            ("epochs", self.epochs),
            ("batch-size", self.batch_size),
            ("accumulation-steps", self.accumulation_steps),
            ("threads", self.threads),
            ("eval-epochs", self.eval_epochs),
            ("eval-steps", self.eval_steps.unwrap_or(1)),
            ("save-steps", self.save_steps.unwrap_or(1)),
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
        if let ClassWeights::Each(weights) = &self.class_weights {
            let is_weight = |weight: &f64| *weight >= 0.0 && weight.is_finite();
            ensure!(weights.iter().all(is_weight), "class-weights must be at least 0");
            ensure!(weights.iter().any(|weight| *weight > 0.0), "class-weights must not all be 0");
        }
        Ok(())
    }
}

impl FromStr for Base {
    type Err = std::convert::Infallible;

    /// `new`, `new-linear`, `new-bert`, or the path of a checkpoint.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "new" => Self::New,
            "new-linear" => Self::NewLinear,
            "new-bert" => Self::NewBert,
            directory => Self::Checkpoint(directory.into()),
        })
    }
}

impl fmt::Display for Base {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => out.write_str("new"),
            Self::NewLinear => out.write_str("new-linear"),
            Self::NewBert => out.write_str("new-bert"),
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
        for base in ["new", "new-linear", "new-bert", "some/checkpoint"] {
            Settings::for_base(&base.parse().unwrap()).check().unwrap();
        }
    }

    #[test]
    fn a_precision_is_read_as_it_is_written_and_bf16_is_for_gpus_alone_unless_told() {
        for precision in [ProductPrecision::Auto, ProductPrecision::F32, ProductPrecision::Bf16] {
            assert_eq!(precision.to_string().parse::<ProductPrecision>().unwrap(), precision);
        }
        assert!("f16".parse::<ProductPrecision>().unwrap_err().to_string().contains("auto, f32 and bf16"));
        let on_cpu = [ProductPrecision::Auto, ProductPrecision::F32, ProductPrecision::Bf16]
            .map(|one| one.is_bf16(&Device::Cpu));
        assert_eq!(on_cpu, [false, false, true]);
    }

    #[test]
    fn settings_that_cannot_learn_are_refused_by_name() {
        let good = Settings::for_base(&Base::NewBert);
        let bad = [
            Settings { epochs: 0, ..good.clone() },
            Settings { learning_rate: f64::NAN, ..good.clone() },
            Settings { warmup_ratio: 1.5, ..good.clone() },
            Settings { dropout: Some(1.0), ..good.clone() },
            Settings { max_length: 2, ..good.clone() },
            Settings { average: Some(1.0), ..good.clone() },
            Settings { layer_decay: 0.0, ..good.clone() },
            Settings { class_weights: ClassWeights::Each(vec![1.0, -1.0]), ..good.clone() },
            Settings { patience: Some(0), ..good },
        ];
        let names = [
            "epochs",
            "learning-rate",
            "warmup-ratio",
            "dropout",
            "max-length",
            "average",
            "layer-decay",
            "class-weights",
            "patience",
        ];
        for (settings, name) in bad.iter().zip(names) {
            let error = settings.check().unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
