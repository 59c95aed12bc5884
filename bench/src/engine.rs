//! `labelstream bench engine`: tokenizing and the forward pass, without Kafka and Postgres.
//!
//! `gflops` counts the multiplications and additions of the layers' products for the tokens that
//! the texts have and the results that are read, over the whole time, tokenizing included;
//! `peak_gflops` is what all cores do in f32 without any memory, measured right after. Both are of
//! the CPU.

use std::path::{Path, PathBuf};
use std::time::Instant;

use classifier::{Classifier, DeviceChoice, Instructions, Precision, peak_operations};
use serde_json::{Value, json};

use crate::measure::{memory, percentile, processor_seconds};
use crate::texts;

/// Flags of `labelstream bench engine`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The checkpoint to measure.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,

    /// A CSV with a column `text` or `review`.
    #[arg(long, value_name = "FILE.csv")]
    texts: PathBuf,

    /// Classify so many texts; the file is started over where it is shorter. Without it: each text
    /// once.
    #[arg(long)]
    count: Option<usize>,

    /// Texts at once: as many as the consumer's largest batch, unless told; never more than the
    /// file has.
    #[arg(long, default_value_t = 1024, value_parser = at_least_one)]
    batch_size: usize,

    /// Tokens a text is truncated to; by default what the model takes.
    #[arg(long)]
    max_length: Option<usize>,

    /// Where the model runs: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,

    /// How exactly the model computes: f32, int8 on the CPU, or bf16 on a GPU; by default f32 on
    /// the CPU and bf16 on a GPU.
    #[arg(long)]
    precision: Option<Precision>,

    /// Leave instructions of the CPU unused, to measure what one without them does: baseline, avx2
    /// or avx512.
    #[arg(long, env = "LABELSTREAM_INSTRUCTIONS")]
    instructions: Option<Instructions>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a number above 0".into())
}

/// Runs the command.
pub fn run(arguments: Arguments) -> anyhow::Result<Value> {
    arguments.instructions.into_iter().for_each(Instructions::limit);
    let file = rows::texts(&arguments.texts)?;
    let texts = texts::spread(&file, arguments.count)?;
    // The same texts of a batch are computed once: none may hold the file twice.
    let batch_size = arguments.batch_size.min(file.len());
    let mut classifier = Classifier::open_with(&arguments.checkpoint, &arguments.device.open()?, arguments.precision)?;
    if let Some(tokens) = arguments.max_length {
        classifier = classifier.with_max_length(tokens);
    }
    let lengths = classifier.count_tokens(&texts)?;
    let tokens: usize = lengths.iter().sum();
    // The first batch pays for memory and caches.
    classifier.classify(&texts[..texts.len().min(batch_size)])?;

    let (started, processor) = (Instant::now(), processor_seconds());
    let mut batches = Vec::new();
    for batch in texts.chunks(batch_size) {
        let started = Instant::now();
        classifier.classify(batch)?;
        batches.push(started.elapsed().as_secs_f64());
    }
    let seconds = started.elapsed().as_secs_f64();
    let processor_seconds = processor_seconds().zip(processor).map(|(after, before)| after - before);
    let operations = classifier.operations(&lengths) / seconds;
    let peak = peak_operations();

    batches.sort_by(f64::total_cmp);
    let milliseconds = |share| percentile(&batches, share) * 1e3;
    Ok(json!({
        "texts": texts.len(), "tokens": tokens, "seconds": seconds,
        "texts_per_second": texts.len() as f64 / seconds, "tokens_per_second": tokens as f64 / seconds,
        "batch_size": batch_size,
        "batch_milliseconds": {"p50": milliseconds(0.5), "p95": milliseconds(0.95), "p99": milliseconds(0.99)},
        "processor_seconds": processor_seconds,
        "gflops": operations / 1e9, "peak_gflops": peak / 1e9, "share_of_peak": operations / peak,
        "precision": classifier.precision().to_string(), "threads": threads(), "device": arguments.device.to_string(),
        "instructions": Instructions::in_use().to_string(),
        "peak_memory_mib": memory().map(|(_, peak)| peak),
        "checkpoint": arguments.checkpoint, "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// Opens a checkpoint where it is to run.
pub fn open(checkpoint: &Path, device: DeviceChoice) -> anyhow::Result<Classifier> {
    Ok(Classifier::open(checkpoint, &device.open()?)?)
}

/// The number of cores, which the CPU engine uses all of.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}
