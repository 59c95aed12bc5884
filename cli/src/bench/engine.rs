//! `labelstream bench engine`: tokenizing and the forward pass, without Kafka and Postgres.
//!
//! `gflops` counts the multiplications and additions of the layers' products for the tokens that the texts have and the results
//! that are read, over the whole time, tokenizing included; `peak_gflops` is what all cores do in f32 without any memory, measured
//! right after. Both are of the CPU.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::ensure;
use classifier::{Classifier, DeviceChoice, Instructions, Precision, peak_operations};
use serde_json::json;

use crate::measure::{memory, percentile, processor_seconds};
use crate::{print, reviews};

/// Flags of `labelstream bench engine`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The checkpoint to measure.
    #[arg(long, env = "LABELSTREAM_CHECKPOINT", value_name = "DIR")]
    checkpoint: PathBuf,

    /// A CSV with a column `text` or `review`.
    #[arg(long, env = "LABELSTREAM_TEXTS", value_name = "FILE.csv")]
    texts: PathBuf,

    /// Classify so many texts; the file is started over where it is shorter. Without it: each text once.
    #[arg(long, env = "LABELSTREAM_COUNT")]
    count: Option<usize>,

    /// Texts at once: as many as the consumer's largest batch, unless told; never more than the file has.
    #[arg(long, env = "LABELSTREAM_BATCH_SIZE", default_value_t = 1024, value_parser = at_least_one)]
    batch_size: usize,

    /// Tokens a text is truncated to; by default what the model takes.
    #[arg(long, env = "LABELSTREAM_MAX_LENGTH")]
    max_length: Option<usize>,

    /// Where the model runs: auto, cpu, cuda or cuda:N.
    #[arg(long, env = "LABELSTREAM_DEVICE", default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,

    /// How exactly the model computes: f32, int8 on the CPU, or bf16 on a GPU; by default f32 on the CPU and bf16 on a GPU.
    #[arg(long, env = "LABELSTREAM_PRECISION")]
    precision: Option<Precision>,

    /// Leave instructions of the CPU unused, to measure what one without them does: baseline, avx2 or avx512.
    #[arg(long, env = "LABELSTREAM_INSTRUCTIONS")]
    instructions: Option<Instructions>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a number above 0".into())
}

/// Runs the command.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    arguments.instructions.into_iter().for_each(Instructions::limit);
    let file = reviews::texts(&arguments.texts)?;
    let texts = spread(&file, arguments.count)?;
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
    print::json(&json!({
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

/// `count` texts spread evenly over the file, whose rows are often sorted by label; the file again and again beyond its end.
pub fn spread(texts: &[String], count: Option<usize>) -> anyhow::Result<Vec<&str>> {
    ensure!(!texts.is_empty(), "there are no texts to measure with");
    let count = count.unwrap_or(texts.len());
    let stride = (texts.len() / count.max(1)).max(1);
    let spread = (0..count).map(|number| texts[number * stride % texts.len()].as_str());
    Ok(spread.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_spread_over_the_file_or_repeated() {
        let texts: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        assert_eq!(spread(&texts, Some(2)).unwrap(), ["a", "c"]);
        assert_eq!(spread(&texts, Some(6)).unwrap(), ["a", "b", "c", "d", "a", "b"]);
        assert_eq!(spread(&texts, None).unwrap(), texts);
        assert!(spread(&[], Some(2)).is_err());
    }
}
