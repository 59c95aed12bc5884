//! `labelstream evaluate`: a checkpoint measured on labeled texts.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use classifier::{Classifier, DeviceChoice, Precision};
use trainer::dataset::{self, Classes};

use crate::dataset_flags::ColumnFlags;

/// Flags of `labelstream evaluate`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Checkpoint directory in the HuggingFace layout.
    #[arg(long, env = "LABELSTREAM_CHECKPOINT")]
    checkpoint: PathBuf,

    /// CSV file of labeled texts. Labels are the model's class names, or their numbers from 0.
    #[arg(long, env = "LABELSTREAM_DATA", value_name = "FILE.csv")]
    data: PathBuf,

    #[command(flatten)]
    columns: ColumnFlags,

    /// Tokens a text is truncated to; by default what the model takes.
    #[arg(long, env = "LABELSTREAM_MAX_LENGTH")]
    max_length: Option<usize>,

    /// Where the model runs: auto, cpu, cuda or cuda:N.
    #[arg(long, env = "LABELSTREAM_DEVICE", default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,

    /// How exactly the model computes: f32, int8 on the CPU, or bf16 on a GPU; by default f32 on the CPU and bf16 on a GPU.
    #[arg(long, env = "LABELSTREAM_PRECISION")]
    precision: Option<Precision>,

    /// Print the figures as JSON.
    #[arg(long, env = "LABELSTREAM_JSON")]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let rows = dataset::read_csv(&arguments.data, &arguments.columns.columns())?;
    ensure!(!rows.is_empty(), "{}: no rows", arguments.data.display());
    let mut classifier = Classifier::open_with(&arguments.checkpoint, &arguments.device.open()?, arguments.precision)?;
    if let Some(tokens) = arguments.max_length {
        classifier = classifier.with_max_length(tokens);
    }
    let classes = Classes::of_model(classifier.classes().names());
    let examples = classes.examples(&rows).with_context(|| arguments.data.display().to_string())?;
    let evaluation = trainer::evaluate(&classifier, &examples)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&evaluation)?);
    } else {
        print!("{evaluation}");
    }
    Ok(())
}
