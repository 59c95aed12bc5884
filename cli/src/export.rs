//! `labelstream export`: a checkpoint as an ONNX file.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use onnx::{Exported, Weights};
use serde_json::json;

use crate::dataset_flags::ColumnFlags;
use crate::print;

/// Flags of `labelstream export`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Checkpoint directory, of any kind but those of candle-transformers
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,

    /// File to write; what turns texts into its input is laid beside it, so give a directory of its
    /// own
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,

    /// Keep the layers' weights in 8 bits, with DequantizeLinear before each product: a quarter of
    /// their size; says of how many texts the label stays the same
    #[arg(long)]
    int8: bool,

    /// File of texts by which that is told, CSV, JSON lines or a text a line [default: some of our
    /// own]
    #[arg(long, value_name = "FILE", requires = "int8")]
    data: Option<PathBuf>,

    #[command(flatten)]
    columns: ColumnFlags,

    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

/// Texts where nobody gives others: of both kinds, in several languages, short and long.
const TEXTS: [&str; 12] = [
    "很好，下次还来！",
    "送得很快，但是面已经没有味道了，总的来说还可以，下次再看看吧。",
    "太难吃了，等了两个小时",
    "味道不错，包装也好，就是有点贵",
    "差评",
    "服务态度特别差，打电话也不接，再也不会点这家了，大家千万别上当。",
    "A gripping film, and a moving one.",
    "Two hours of my life that I will not get back",
    "Très bon, mais un peu cher",
    "Очень вкусно, спасибо!",
    "👍👍👍",
    "一般",
];

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let texts = match &arguments.data {
        Some(file) => trainer::labeled_rows::read_texts(file, &arguments.columns.columns())?,
        None => TEXTS.map(str::to_owned).to_vec(),
    };
    ensure!(!texts.is_empty(), "there is no text in the file");
    let weights = if arguments.int8 { Weights::Int8 } else { Weights::F32 };
    let exported = onnx::export(&arguments.checkpoint, &arguments.onnx, weights, &texts)?;
    let Exported { kind, classes, bytes, opset, beside, agreement } = &exported;
    if arguments.json {
        let agreement = agreement.map(
            |(share, greatest)| json!({"texts": texts.len(), "same_label": share, "greatest_difference": greatest}),
        );
        return print::json(&json!({
            "onnx": arguments.onnx, "kind": kind, "classes": classes, "bytes": bytes, "opset": opset,
            "beside": beside, "int8": agreement,
        }));
    }
    println!("{}: {kind}, {:.1} MB, opset {opset}", arguments.onnx.display(), *bytes as f64 / 1e6);
    println!("logits of {}; beside it {}", classes.join(", "), beside.join(", "));
    if let Some((share, greatest)) = agreement {
        let (count, share) = (texts.len(), 100.0 * share);
        println!("int8: of {count} texts {share:.1}% keep their label; scores differ by {greatest:.4} at most");
    }
    Ok(())
}
