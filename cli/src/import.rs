//! `labelstream import`: the weights of an ONNX file as a checkpoint directory.

use std::path::{Path, PathBuf};

use anyhow::Result;
use onnx::Imported;
use serde_json::json;

use crate::print;

/// Flags of `labelstream import`.
#[derive(clap::Args)]
pub struct Arguments {
    /// File that torch's exporter has written, of an encoder or a classifier
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,

    /// The model's configuration as transformers has it [default: config.json beside the file]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Directory of its tokenizer's files [default: that of the file]
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,

    /// Directory for the checkpoint; must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Print what came of it as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let home = arguments.onnx.parent().filter(|home| !home.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let config = arguments.config.unwrap_or_else(|| home.join("config.json"));
    let tokenizer = arguments.tokenizer.unwrap_or_else(|| home.to_owned());
    let Imported { kind, parameters, has_head, missing } =
        onnx::import(&arguments.onnx, &config, &tokenizer, &arguments.out)?;
    if arguments.json {
        return print::json(&json!({
            "checkpoint": arguments.out, "kind": kind, "parameters": parameters, "has_head": has_head,
            "missing": missing,
        }));
    }
    println!("{}: {kind}, {parameters} parameters", arguments.out.display());
    if !has_head {
        println!("an encoder without a classification head: fine-tune it with `labelstream train --base`");
    }
    Ok(())
}
