//! Flags of the commands that run a checkpoint.

use std::path::PathBuf;

use anyhow::Result;
use classifier::{Classifier, DeviceChoice, Precision};

/// Which model to run, and how.
#[derive(clap::Args)]
pub struct ModelFlags {
    /// Checkpoint directory in the HuggingFace layout
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,

    /// Tokens to truncate a text to [default: as many as the model takes, and 512 at most]
    #[arg(long)]
    max_length: Option<usize>,

    /// Device to run the model on: auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,

    /// Precision to compute in: f32, int8 on the CPU, or bf16 on a GPU [default: f32 on the CPU,
    /// bf16 on a GPU]
    #[arg(long)]
    precision: Option<Precision>,
}

impl ModelFlags {
    /// Loads the model.
    pub fn open(&self) -> Result<Classifier> {
        let classifier = Classifier::open_with(&self.checkpoint, &self.device.open()?, self.precision)?;
        Ok(match self.max_length {
            Some(tokens) => classifier.with_max_length(tokens),
            None => classifier,
        })
    }
}
