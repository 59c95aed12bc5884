//! `labelstream bench train`: how fast a model learns.

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use classifier::{DeviceChoice, Instructions};
use serde_json::{Value, json};
use trainer::{Base, Columns, Dataset, Head, Hyperparameters, ProductPrecision, Progress, RunOptions, Settings};

use crate::measure::{memory, percentile, processor_seconds};

/// Steps before the measured ones, which pay for memory and caches.
const WARM_UP: usize = 3;

/// Flags of `labelstream bench train`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Directory with train_data.csv, as `prepare` writes it.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Checkpoint directory to fine-tune from, or `new-bert`.
    #[arg(long, default_value = "new-bert")]
    base: Base,

    /// Column of the texts; by default `text` or `review`.
    #[arg(long)]
    text_column: Option<String>,

    /// Column of the labels; by default `label`.
    #[arg(long)]
    label_column: Option<String>,

    /// Steps to measure.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,

    /// Texts a gradient is computed from at once.
    #[arg(long, default_value_t = 32)]
    batch_size: usize,

    /// Tokens a text is truncated to, `[CLS]` and `[SEP]` included.
    #[arg(long, default_value_t = 128)]
    max_length: usize,

    /// Threads a batch is spread over on the CPU. [default: one a core]
    #[arg(long)]
    threads: Option<usize>,

    /// Where the model runs: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,

    /// What matrices are multiplied in: auto (bf16 on a GPU, f32 on the CPU), f32 or bf16.
    #[arg(long, default_value_t = ProductPrecision::Auto)]
    precision: ProductPrecision,

    /// Leave instructions of the CPU unused, to measure what one without them does: baseline, avx2
    /// or avx512.
    #[arg(long, env = "LABELSTREAM_INSTRUCTIONS")]
    instructions: Option<Instructions>,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<Value> {
    arguments.instructions.into_iter().for_each(Instructions::limit);
    ensure!(matches!(arguments.base, Base::NewBert | Base::Checkpoint(_)), "base {} has no steps", arguments.base);
    let columns =
        Columns { text: arguments.text_column.clone(), label: arguments.label_column.clone(), ..Columns::default() };
    let dataset = Dataset::open(&arguments.data, &columns, None)?;
    let settings = settings(&arguments, dataset.train.len());
    settings.check()?;
    let mut steps = Steps::default();
    let nowhere = tempfile::tempdir()?;
    let last = WARM_UP + arguments.steps as usize;
    let ended = trainer::fit(&settings, &dataset, &arguments.base, &nowhere.path().join("out"), &mut |progress| {
        steps.record(progress);
        ensure!(steps.seen < last, Enough);
        Ok(())
    });
    match ended {
        Err(error) if error.is::<Enough>() => steps.report(&arguments, &settings),
        Err(error) => Err(error),
        Ok(_) => anyhow::bail!("the run has ended before its last step was measured: a bug"),
    }
}

/// As long a run as the steps need, without evaluations.
fn settings(arguments: &Arguments, texts: usize) -> Settings {
    let Settings { hyperparameters, options } = Settings::for_base(&arguments.base);
    let steps = WARM_UP + arguments.steps as usize;
    Settings {
        hyperparameters: Hyperparameters {
            epochs: 1 + (steps + 1) * arguments.batch_size / texts.max(1),
            batch_size: arguments.batch_size,
            max_length: arguments.max_length,
            eval_steps: Some(steps + 1),
            precision: arguments.precision,
            ..hyperparameters
        },
        options: RunOptions {
            threads: arguments.threads.unwrap_or(options.threads),
            save_limit: 0,
            device: arguments.device,
            ..options
        },
    }
}

/// The run has been long enough.
#[derive(Debug)]
struct Enough;

impl std::error::Error for Enough {}

impl fmt::Display for Enough {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("all steps are measured")
    }
}

/// What the steps took.
#[derive(Default)]
struct Steps {
    head: Option<Head>,
    seen: usize,
    /// The clock at the end of the step before, and the processor time when the measuring began.
    clock: Option<Instant>,
    processor: f64,
    seconds: Vec<f64>,
    texts: usize,
    tokens: usize,
    operations: f64,
    losses: f64,
}

impl Steps {
    fn record(&mut self, progress: &Progress) {
        match progress {
            Progress::Started(head) => self.head = Some((*head).clone()),
            Progress::Stepped { loss, examples, tokens, .. } => {
                self.seen += 1;
                match self.clock {
                    Some(clock) if self.seen > WARM_UP => {
                        self.seconds.push(clock.elapsed().as_secs_f64());
                        self.texts += examples;
                        self.tokens += tokens;
                        self.losses += loss;
                        self.operations += self.head.as_ref().map_or(0.0, |head| operations(head, *examples, *tokens));
                    }
                    _ => self.processor = processor_seconds().unwrap_or(0.0),
                }
                self.clock = Some(Instant::now());
            }
            _ => {}
        }
    }

    fn report(mut self, arguments: &Arguments, settings: &Settings) -> Result<Value> {
        let processor = processor_seconds().map(|seconds| seconds - self.processor);
        let seconds: f64 = self.seconds.iter().sum();
        self.seconds.sort_by(f64::total_cmp);
        let milliseconds = |share| percentile(&self.seconds, share) * 1e3;
        let device = arguments.device.open()?;
        let precision = if settings.hyperparameters.precision.is_bf16(&device) {
            ProductPrecision::Bf16
        } else {
            ProductPrecision::F32
        };
        let head = self.head.as_ref();
        Ok(json!({
            "steps": self.seconds.len(), "texts": self.texts, "tokens": self.tokens, "seconds": seconds,
            "texts_per_second": self.texts as f64 / seconds, "tokens_per_second": self.tokens as f64 / seconds,
            "gflop_per_second": self.operations / seconds / 1e9,
            "processor_seconds": processor,
            "texts_per_processor_second": processor.map(|processor| self.texts as f64 / processor),
            "tokens_per_processor_second": processor.map(|processor| self.tokens as f64 / processor),
            "step_milliseconds": {"p50": milliseconds(0.5), "p95": milliseconds(0.95), "p99": milliseconds(0.99)},
            "mean_loss": self.losses / self.seconds.len() as f64,
            "batch_size": settings.hyperparameters.batch_size, "threads": settings.options.threads,
            "precision": precision.to_string(), "device": arguments.device.to_string(),
            "instructions": Instructions::in_use().to_string(),
            "peak_memory_mib": memory().map(|(_, peak)| peak),
            "base": arguments.base.to_string(),
            "layers": head.map(|head| head.layers), "hidden_size": head.map(|head| head.hidden_size),
            "version": env!("CARGO_PKG_VERSION"),
        }))
    }
}

/// Useful operations of a step: three times those of a forward pass over real tokens, whatever is
/// computed.
fn operations(head: &Head, texts: usize, tokens: usize) -> f64 {
    let (hidden, inner) = (head.hidden_size as f64, head.intermediate_size as f64);
    // The texts of a batch are of similar length, so their mean stands for each.
    let length = tokens as f64 / texts as f64;
    let token = 8.0 * hidden * hidden + 4.0 * hidden * inner + 4.0 * length * hidden;
    3.0 * tokens as f64 * head.layers as f64 * token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operations_of_a_step_are_three_forward_passes_over_its_tokens() {
        let head = Head {
            examples: 32,
            valid_examples: 0,
            epochs: 1,
            batch_size: 32,
            total_batch_size: 32,
            accumulation_steps: 1,
            optimization_steps: 1,
            trainable_parameters: 0,
            layers: 12,
            hidden_size: 768,
            intermediate_size: 3072,
            labels: Vec::new(),
            initialised: Vec::new(),
        };
        // BERT-base has 85.1 million parameters in matrices of its layers: two operations each a
        // token, and the attention.
        let forward = 27.0 * (2.0 * 12.0 * 12.0 * 768.0 * 768.0 + 12.0 * 4.0 * 27.0 * 768.0);
        assert_eq!(operations(&head, 1, 27), 3.0 * forward);
        assert_eq!(operations(&head, 32, 27 * 32), 32.0 * 3.0 * forward);
    }
}
