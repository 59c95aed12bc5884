//! The flags of a training, for every program that trains.

use std::path::Path;

use classifier::DeviceChoice;
use classifier::Pooling;

use crate::base::Base;
use crate::hyperparameters::{ClassWeights, Hyperparameters};
use crate::metrics::BestBy;
use crate::precision::ProductPrecision;
use crate::pretrained;
use crate::run_options::RunOptions;
use crate::settings::Settings;

/// How to train. Defaults depend on the base: those of [`Hyperparameters::for_base`].
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
pub struct TrainingFlags {
    /// How many times to go through the training texts [default: 4 for a new model, else 3]
    #[arg(long, env = "LABELSTREAM_TRAIN_EPOCHS")]
    pub epochs: Option<usize>,

    /// Texts in a batch [default: 32]
    #[arg(long, env = "LABELSTREAM_TRAIN_BATCH_SIZE")]
    pub batch_size: Option<usize>,

    /// Batches whose gradients are summed before a step [default: 1]
    #[arg(long, env = "LABELSTREAM_TRAIN_ACCUMULATION_STEPS")]
    pub accumulation_steps: Option<usize>,

    /// Highest learning rate [default: 3e-4 for a new model, 1.5e-4 for a small encoder, else 5e-5]
    #[arg(long, env = "LABELSTREAM_TRAIN_LEARNING_RATE")]
    pub learning_rate: Option<f64>,

    /// Weight decay of matrices; biases and LayerNorm do not decay [default: 0.01]
    #[arg(long, env = "LABELSTREAM_TRAIN_WEIGHT_DECAY")]
    pub weight_decay: Option<f64>,

    /// Share of the steps over which the learning rate rises; then it falls to zero [default: 0.1]
    #[arg(long, env = "LABELSTREAM_TRAIN_WARMUP_RATIO")]
    pub warmup_ratio: Option<f64>,

    /// Length to which longer gradients are clipped [default: 1]
    #[arg(long, env = "LABELSTREAM_TRAIN_MAX_GRAD_NORM")]
    pub max_grad_norm: Option<f64>,

    /// Tokens to truncate a text to, `[CLS]` and `[SEP]` included [default: 128]
    #[arg(long, env = "LABELSTREAM_TRAIN_MAX_LENGTH")]
    pub max_length: Option<usize>,

    /// Dropout of hidden states and attention [default: that of the base's configuration; 0.1 for a
    /// new model]
    #[arg(long, env = "LABELSTREAM_TRAIN_DROPOUT")]
    pub dropout: Option<f64>,

    /// How to turn a text's token vectors into one: cls (BERT's own pooler), mean, max or
    /// attention; transformers opens checkpoints of cls only [default: that of the base; cls for a
    /// new model]
    #[arg(long, env = "LABELSTREAM_TRAIN_POOLING")]
    pub pooling: Option<Pooling>,

    /// Share of the input tokens to replace with `[UNK]`, so that no single word decides [default:
    /// 0.15 for a new model, else 0]
    #[arg(long, env = "LABELSTREAM_TRAIN_TOKEN_MASKING", value_name = "SHARE")]
    pub token_masking: Option<f64>,

    /// Evaluate and save an exponential average of the weights with this decay; 0: the weights
    /// themselves [default: 0.998 for a new model, else 0]
    #[arg(long, env = "LABELSTREAM_TRAIN_AVERAGE", value_name = "DECAY")]
    pub average: Option<f64>,

    /// Weight of each class in the loss: none, balanced (rare classes count more), or a number for
    /// each class in order, as in 1,2.5
    #[arg(long, env = "LABELSTREAM_TRAIN_CLASS_WEIGHTS", value_name = "WEIGHTS", default_value = "none")]
    pub class_weights: ClassWeights,

    /// Share of each label to spread over all classes, so that the model does not become too sure
    /// [default: 0]
    #[arg(long, env = "LABELSTREAM_TRAIN_LABEL_SMOOTHING", value_name = "SHARE")]
    pub label_smoothing: Option<f64>,

    /// Learning rate of each layer as a share of that of the layer above it, such as 0.9 [default:
    /// 1]
    #[arg(long, env = "LABELSTREAM_TRAIN_LAYER_DECAY", value_name = "SHARE")]
    pub layer_decay: Option<f64>,

    /// Do not train the embeddings and the first N layers; 0: the embeddings only
    #[arg(long, env = "LABELSTREAM_TRAIN_FREEZE", value_name = "N")]
    pub freeze: Option<usize>,

    /// Epochs between evaluations on the validation texts [default: 1]
    #[arg(long, env = "LABELSTREAM_TRAIN_EVAL_EPOCHS", value_name = "EPOCHS", conflicts_with = "eval_steps")]
    pub eval_epochs: Option<usize>,

    /// Steps between evaluations, in place of epochs
    #[arg(long, env = "LABELSTREAM_TRAIN_EVAL_STEPS", value_name = "STEPS")]
    pub eval_steps: Option<usize>,

    /// Metric by which the best checkpoint is chosen: accuracy, macro-f1, mcc, auc (two classes
    /// only), loss; or f1, precision or recall of one class, as in f1:CLASS
    #[arg(long, env = "LABELSTREAM_TRAIN_BEST_BY", value_name = "METRIC", default_value_t = BestBy::default())]
    pub best_by: BestBy,

    /// Stop after this many evaluations without a better one
    #[arg(long, env = "LABELSTREAM_TRAIN_PATIENCE", value_name = "EVALUATIONS")]
    pub patience: Option<usize>,

    /// Seed of the order of texts, of dropout and of new weights; the same seed and threads give
    /// the same model [default: 42]
    #[arg(long, env = "LABELSTREAM_TRAIN_SEED")]
    pub seed: Option<u64>,

    /// Precision of matrix products: auto (bf16 on a GPU, f32 on the CPU), f32 or bf16; weights are
    /// f32 in every case
    #[arg(long, env = "LABELSTREAM_TRAIN_PRECISION", default_value_t = ProductPrecision::Auto)]
    pub precision: ProductPrecision,

    /// CPU threads, of all processes together [default: one a core]
    #[arg(long, env = "LABELSTREAM_TRAIN_THREADS")]
    pub threads: Option<usize>,

    /// Device to train on: auto, cpu, cuda or cuda:N
    #[arg(long, env = "LABELSTREAM_DEVICE", default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
}

impl TrainingFlags {
    /// The settings of a training from this base, with the help of an encoder where there is one: a
    /// network then starts from it.
    pub fn settings_with(&self, base: &Base, encoder: Option<&Path>) -> Settings {
        let Some(encoder) = encoder else { return self.settings(base) };
        let mut settings = self.settings(&Base::Checkpoint(encoder.to_owned()));
        if self.learning_rate.is_none() {
            settings.hyperparameters.learning_rate = pretrained::learning_rate(encoder);
        }
        settings
    }

    /// The settings of a training from this base.
    pub fn settings(&self, base: &Base) -> Settings {
        let usual = Settings::for_base(base);
        Settings {
            options: RunOptions {
                threads: self.threads.unwrap_or(usual.options.threads),
                device: self.device,
                ..usual.options
            },
            hyperparameters: self.hyperparameters(usual.hyperparameters),
        }
    }

    fn hyperparameters(&self, usual: Hyperparameters) -> Hyperparameters {
        Hyperparameters {
            epochs: self.epochs.unwrap_or(usual.epochs),
            batch_size: self.batch_size.unwrap_or(usual.batch_size),
            accumulation_steps: self.accumulation_steps.unwrap_or(usual.accumulation_steps),
            learning_rate: self.learning_rate.unwrap_or(usual.learning_rate),
            weight_decay: self.weight_decay.unwrap_or(usual.weight_decay),
            warmup_ratio: self.warmup_ratio.unwrap_or(usual.warmup_ratio),
            max_grad_norm: self.max_grad_norm.unwrap_or(usual.max_grad_norm),
            max_length: self.max_length.unwrap_or(usual.max_length),
            dropout: self.dropout.or(usual.dropout),
            pooling: self.pooling.or(usual.pooling),
            token_masking: self.token_masking.unwrap_or(usual.token_masking),
            average: self.average.or(usual.average),
            class_weights: self.class_weights.clone(),
            label_smoothing: self.label_smoothing.unwrap_or(usual.label_smoothing),
            layer_decay: self.layer_decay.unwrap_or(usual.layer_decay),
            freeze: self.freeze.or(usual.freeze),
            eval_epochs: self.eval_epochs.unwrap_or(usual.eval_epochs),
            eval_steps: self.eval_steps.or(usual.eval_steps),
            patience: self.patience.or(usual.patience),
            best_by: self.best_by.clone(),
            seed: self.seed.unwrap_or(usual.seed),
            precision: self.precision,
            distillation: usual.distillation,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        training: TrainingFlags,
    }

    fn parsed(flags: &[&str]) -> TrainingFlags {
        Program::parse_from([&["program"], flags].concat()).training
    }

    #[test]
    fn without_a_flag_the_settings_are_those_of_the_base() {
        assert_eq!(parsed(&[]), TrainingFlags::default());
        for base in ["new", "some/checkpoint"] {
            let base: Base = base.parse().unwrap();
            let settings = TrainingFlags::default().settings(&base);
            assert_eq!(settings.hyperparameters, Hyperparameters::for_base(&base));
        }
    }

    #[test]
    fn a_flag_changes_what_it_names_and_nothing_else() {
        let base = Base::NewBert;
        let flags = parsed(&["--epochs=9", "--average=0", "--class-weights=1,2", "--threads=3"]);
        let settings = flags.settings(&base);
        let expected = Hyperparameters {
            epochs: 9,
            average: Some(0.0),
            class_weights: ClassWeights::Each(vec![1.0, 2.0]),
            ..Hyperparameters::for_base(&base)
        };
        assert_eq!((settings.hyperparameters, settings.options.threads), (expected, 3));
    }
}
