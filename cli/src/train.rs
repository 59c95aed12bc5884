//! `labelstream train`: the files of `prepare` to a checkpoint.

mod display;
mod replicas;
mod summary;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use classifier::DeviceChoice;
use classifier::Pooling;
use trainer::report::Report;
use trainer::tensorboard::EventFile;
use trainer::{Base, BestBy, ClassWeights, Dataset, ProductPrecision, Replica, Settings, Trained};

use crate::dataset_flags::ColumnFlags;
use display::Display;
use replicas::ReplicaFlags;

/// Flags of `labelstream train`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Directory with train_data.csv and valid_data.csv, as `prepare` writes it.
    #[arg(long, env = "LABELSTREAM_DATA", value_name = "DIR")]
    data: PathBuf,

    /// Checkpoint directory to fine-tune from: a classifier, or an encoder such as bert-base-chinese, which gets a new head.
    /// `new` is the best that can be had from the labels alone: a linear model of n-grams, and a small BERT (4 layers of 256)
    /// where that is clearly better; `new-linear` and `new-bert` are one of them. Most flags below concern BERTs.
    #[arg(long, env = "LABELSTREAM_BASE", default_value = "new")]
    base: Base,

    /// Directory for the best checkpoint; must not exist. The last few are kept in DIR.checkpoints/step-N.
    #[arg(long, env = "LABELSTREAM_OUT", value_name = "DIR")]
    out: PathBuf,

    #[command(flatten)]
    columns: ColumnFlags,

    /// Names of the classes, in order (`--labels bad,good` for 0 and 1); by default integers in numeric order, names sorted.
    #[arg(long, env = "LABELSTREAM_LABELS", value_delimiter = ',')]
    labels: Option<Vec<String>>,

    /// How often every training text is seen. [default: 4 for a new model, else 3]
    #[arg(long, env = "LABELSTREAM_EPOCHS")]
    epochs: Option<usize>,

    /// Texts a gradient is computed from at once. [default: 32]
    #[arg(long, env = "LABELSTREAM_BATCH_SIZE")]
    batch_size: Option<usize>,

    /// Batches summed before the weights move. [default: 1]
    #[arg(long, env = "LABELSTREAM_ACCUMULATION_STEPS")]
    accumulation_steps: Option<usize>,

    /// Peak of the learning rate. [default: 3e-4 for a new model, else 5e-5]
    #[arg(long, env = "LABELSTREAM_LEARNING_RATE")]
    learning_rate: Option<f64>,

    /// Decay of matrices; biases and LayerNorm do not decay. [default: 0.01]
    #[arg(long, env = "LABELSTREAM_WEIGHT_DECAY")]
    weight_decay: Option<f64>,

    /// Share of the steps over which the learning rate rises; then it falls to zero. [default: 0.1]
    #[arg(long, env = "LABELSTREAM_WARMUP_RATIO")]
    warmup_ratio: Option<f64>,

    /// Longest gradient; longer ones are clipped. [default: 1]
    #[arg(long, env = "LABELSTREAM_MAX_GRAD_NORM")]
    max_grad_norm: Option<f64>,

    /// Tokens a text is truncated to, `[CLS]` and `[SEP]` included. [default: 128]
    #[arg(long, env = "LABELSTREAM_MAX_LENGTH")]
    max_length: Option<usize>,

    /// Dropout of hidden states and attention. [default: what the base's configuration says; 0.1 for a new model]
    #[arg(long, env = "LABELSTREAM_DROPOUT")]
    dropout: Option<f64>,

    /// How a text's tokens become the vector that is classified: cls (BERT's own pooler), mean, max or attention. transformers
    /// opens the checkpoints of cls alone. [default: as the base has it; cls for a new model]
    #[arg(long, env = "LABELSTREAM_POOLING")]
    pooling: Option<Pooling>,

    /// Share of the input tokens that become `[UNK]` in training, so that no single word decides. [default: 0.15 for a new model, else 0]
    #[arg(long, env = "LABELSTREAM_TOKEN_MASKING")]
    token_masking: Option<f64>,

    /// Evaluate and save an average of the weights over the steps, which keeps this share of itself at each; 0 averages
    /// nothing. [default: 0.998 for a new model, else 0]
    #[arg(long, env = "LABELSTREAM_AVERAGE", value_name = "DECAY")]
    average: Option<f64>,

    /// What each class counts in the loss: none, balanced (rare classes count more), or a number for each in their order (1,2.5).
    #[arg(long, env = "LABELSTREAM_CLASS_WEIGHTS", value_name = "WEIGHTS", default_value = "none")]
    class_weights: ClassWeights,

    /// Share of each label that is spread over all classes, so that the model does not become too sure. [default: 0]
    #[arg(long, env = "LABELSTREAM_LABEL_SMOOTHING", value_name = "SHARE")]
    label_smoothing: Option<f64>,

    /// Learning rate of each layer as a share of that of the layer above it (0.9, 0.95); the head has the whole. [default: 1]
    #[arg(long, env = "LABELSTREAM_LAYER_DECAY", value_name = "SHARE")]
    layer_decay: Option<f64>,

    /// Keep the first N layers and the embeddings as they are; 0 freezes the embeddings alone. Saves their gradients too.
    #[arg(long, env = "LABELSTREAM_FREEZE", value_name = "N")]
    freeze: Option<usize>,

    /// Epochs between evaluations and checkpoints. [default: 1]
    #[arg(long, env = "LABELSTREAM_EVAL_EPOCHS", value_name = "EPOCHS", conflicts_with = "eval_steps")]
    eval_epochs: Option<usize>,

    /// Steps between evaluations and checkpoints, in place of epochs.
    #[arg(long, env = "LABELSTREAM_EVAL_STEPS", value_name = "STEPS")]
    eval_steps: Option<usize>,

    /// Directory for the state of the run. A run that was killed goes on from there when it is started again with the same
    /// flags, and ends with the same bits; the state of other flags, texts or another base is refused.
    #[arg(long, env = "LABELSTREAM_STATE", value_name = "DIR")]
    state: Option<PathBuf>,

    /// Steps between two writings of the state. [default: after each evaluation]
    #[arg(long, env = "LABELSTREAM_SAVE_STEPS", value_name = "STEPS", requires = "state")]
    save_steps: Option<usize>,

    /// What makes a checkpoint the best on the validation texts: accuracy, macro-f1, mcc, auc (of two classes), loss; or f1,
    /// precision or recall of one class, as f1:CLASS.
    #[arg(long, env = "LABELSTREAM_BEST_BY", value_name = "METRIC", default_value_t = BestBy::default())]
    best_by: BestBy,

    /// End the run after so many evaluations without a better one.
    #[arg(long, env = "LABELSTREAM_PATIENCE", value_name = "EVALUATIONS")]
    patience: Option<usize>,

    /// Checkpoints of the run kept beside the best; 0 writes the best alone. [default: 2]
    #[arg(long, env = "LABELSTREAM_SAVE_LIMIT")]
    save_limit: Option<usize>,

    /// Decides the order of texts, the dropout and new weights; the same seed and --threads give the same result. [default: 42]
    #[arg(long, env = "LABELSTREAM_SEED")]
    seed: Option<u64>,

    /// Threads a batch is spread over on the CPU, all processes together. [default: one a core]
    #[arg(long, env = "LABELSTREAM_THREADS")]
    threads: Option<usize>,

    /// Where the model runs: auto, cpu, cuda or cuda:N.
    #[arg(long, env = "LABELSTREAM_DEVICE", default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,

    /// What matrices are multiplied in: auto (bf16 on a GPU, f32 on the CPU), f32 or bf16. Weights stay f32 with each.
    #[arg(long, env = "LABELSTREAM_PRECISION", default_value_t = ProductPrecision::Auto)]
    precision: ProductPrecision,

    /// Directory for an event file that TensorBoard opens: loss, learning rate, and every metric of the validation texts.
    #[arg(long, env = "LABELSTREAM_TENSORBOARD", value_name = "DIR")]
    tensorboard: Option<PathBuf>,

    /// A page with the loss curve and the confusion matrix: HTML, or SVG alone where the name ends in .svg.
    #[arg(long, env = "LABELSTREAM_REPORT", value_name = "FILE")]
    report: Option<PathBuf>,

    #[command(flatten)]
    replicas: ReplicaFlags,

    /// Print the summary as JSON.
    #[arg(long, env = "LABELSTREAM_JSON")]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let mut settings = settings(&arguments);
    settings.check()?;
    let dataset = Dataset::open(&arguments.data, &arguments.columns.columns(), arguments.labels.as_deref())?;
    let (replica, copies) = arguments.replicas.start()?;
    let is_network = matches!(arguments.base, Base::NewBert | Base::Checkpoint(_));
    ensure!(is_network || replica.is_none(), "base {} is not trained by several processes", arguments.base);
    settings.replica = replica;
    if let Some(Replica { rank: 1.., .. }) = settings.replica {
        return trainer::follow(&settings, &dataset, &arguments.base);
    }
    let trained = train(&arguments, &settings, &dataset)?;
    copies.finish()?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&trained)?);
    } else {
        summary::print(&trained);
    }
    Ok(())
}

fn train(arguments: &Arguments, settings: &Settings, dataset: &Dataset) -> Result<Trained> {
    let mut display = Display::new(settings, &arguments.base);
    let mut events = arguments.tensorboard.as_deref().map(EventFile::create).transpose()?;
    let mut report = Report::default();
    let trained = trainer::train(settings, dataset, &arguments.base, &arguments.out, &mut |progress| {
        display.show(progress);
        report.record(progress);
        events.as_mut().map_or(Ok(()), |events| events.record(progress))
    })?;
    if let Some(file) = &arguments.report {
        report.write(file, &arguments.out.display().to_string(), trained.evaluation())?;
    }
    Ok(trained)
}

fn settings(arguments: &Arguments) -> Settings {
    let usual = Settings::for_base(&arguments.base);
    Settings {
        epochs: arguments.epochs.unwrap_or(usual.epochs),
        batch_size: arguments.batch_size.unwrap_or(usual.batch_size),
        accumulation_steps: arguments.accumulation_steps.unwrap_or(usual.accumulation_steps),
        learning_rate: arguments.learning_rate.unwrap_or(usual.learning_rate),
        weight_decay: arguments.weight_decay.unwrap_or(usual.weight_decay),
        warmup_ratio: arguments.warmup_ratio.unwrap_or(usual.warmup_ratio),
        max_grad_norm: arguments.max_grad_norm.unwrap_or(usual.max_grad_norm),
        max_length: arguments.max_length.unwrap_or(usual.max_length),
        dropout: arguments.dropout,
        pooling: arguments.pooling,
        token_masking: arguments.token_masking.unwrap_or(usual.token_masking),
        average: arguments.average.or(usual.average),
        class_weights: arguments.class_weights.clone(),
        label_smoothing: arguments.label_smoothing.unwrap_or(usual.label_smoothing),
        layer_decay: arguments.layer_decay.unwrap_or(usual.layer_decay),
        freeze: arguments.freeze,
        eval_epochs: arguments.eval_epochs.unwrap_or(usual.eval_epochs),
        eval_steps: arguments.eval_steps,
        patience: arguments.patience,
        best_by: arguments.best_by.clone(),
        save_limit: arguments.save_limit.unwrap_or(usual.save_limit),
        seed: arguments.seed.unwrap_or(usual.seed),
        threads: (arguments.threads.unwrap_or(usual.threads) / arguments.replicas.processes()).max(1),
        device: arguments.device,
        precision: arguments.precision,
        state: arguments.state.clone(),
        save_steps: arguments.save_steps,
        replica: None,
    }
}
