//! `labelstream evaluate`: a checkpoint measured on labeled texts.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use trainer::{LabelMap, labeled_rows, warnings};

use crate::dataset_flags::ColumnFlags;
use crate::model_flags::ModelFlags;
use crate::print;

/// Flags of `labelstream evaluate`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelFlags,

    /// File of labeled texts, CSV or JSON lines; labels are the names of the model's classes, or
    /// their numbers from 0
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    #[command(flatten)]
    columns: ColumnFlags,

    /// Print the metrics as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let rows = labeled_rows::read(&arguments.data, &arguments.columns.columns())?;
    ensure!(!rows.is_empty(), "{}: no rows", arguments.data.display());
    let classifier = arguments.model.open()?;
    let classes = LabelMap::of_model(classifier.classes().names());
    let examples = classes.examples(&rows).with_context(|| arguments.data.display().to_string())?;
    let evaluation = trainer::evaluate(&classifier, &examples)?;
    let labels = examples.iter().map(|example| classes.names()[example.label].as_str());
    let texts = examples.iter().map(|example| example.text.as_str()).zip(labels);
    let warnings: Vec<String> =
        warnings::of_texts(texts).into_iter().chain(warnings::of_evaluation(&evaluation)).collect();
    print::warnings(&warnings);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&print::with_warnings(&evaluation, &warnings)?)?);
    } else {
        print!("{evaluation}");
    }
    Ok(())
}
