//! `labelstream prepare`: a file of labeled reviews to the files that `train` reads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use trainer::prepare::{self, Options, Report};
use trainer::{LabelMap, Row, labeled_rows};

use crate::dataset_flags::ColumnFlags;

/// Flags of `labelstream prepare`.
#[derive(clap::Args)]
pub struct Arguments {
    /// File of labeled texts: a CSV with a header, or JSON lines
    #[arg(value_name = "FILE")]
    input: PathBuf,

    /// Directory for train_data.csv, valid_data.csv and test_data.csv
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    #[command(flatten)]
    columns: ColumnFlags,

    /// Names of the classes, in order: `--classes bad,good` for the labels 0 and 1 [default: labels
    /// stay as they are]
    #[arg(long, alias = "labels", value_delimiter = ',')]
    classes: Option<Vec<String>>,

    /// Share of the texts for validation, which chooses the best checkpoint
    #[arg(long, default_value_t = 0.1)]
    valid: f64,

    /// Share of the texts for the test, which measures the result
    #[arg(long, default_value_t = 0.1)]
    test: f64,

    /// Seed of the split
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Remove HTML, web and mail addresses and @mentions too, and fold full-width characters
    /// (NFKC): for texts scraped from the web; the texts of a stream reach the model as they were
    /// written
    #[arg(long)]
    clean: bool,

    /// Replace the files of an earlier `prepare`
    #[arg(long)]
    overwrite: bool,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let out = &arguments.out;
    ensure!(arguments.overwrite || is_empty(out)?, "{}: not empty; give another --out, or --overwrite", out.display());
    let mut rows = labeled_rows::read(&arguments.input, &arguments.columns.columns())?;
    if let Some(names) = &arguments.classes {
        name_classes(&mut rows, names).with_context(|| arguments.input.display().to_string())?;
    }
    let options =
        Options { clean: arguments.clean, valid: arguments.valid, test: arguments.test, seed: arguments.seed };
    let prepared = prepare::prepare(rows, &options)?;
    prepare::write(&prepared, out)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&prepared.report)?);
    } else {
        print_report(&prepared.report, out);
    }
    Ok(())
}

fn is_empty(directory: &Path) -> Result<bool> {
    match fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).with_context(|| directory.display().to_string()),
    }
}

/// Puts the names in the place of what stands in the file; rows without a label are left for
/// `prepare` to drop.
fn name_classes(rows: &mut [Row], names: &[String]) -> Result<()> {
    let labeled: Vec<Row> = rows.iter().filter(|row| !row.label.trim().is_empty()).cloned().collect();
    let classes = LabelMap::learn(&labeled, Some(names))?;
    for row in rows.iter_mut().filter(|row| !row.label.trim().is_empty()) {
        let class = classes.examples(std::slice::from_ref(row))?[0].label;
        row.label.clone_from(&names[class]);
    }
    Ok(())
}

fn print_report(report: &Report, out: &Path) {
    println!("{:>8}  rows read", report.rows);
    let dropped = [
        (report.without_text, "without a text"),
        (report.without_label, "without a label"),
        (report.duplicates, "the same text and label as an earlier row"),
        (report.contradictions, "the same text with different labels"),
    ];
    for (count, why) in dropped {
        println!("{count:>8}  dropped: {why}");
    }
    println!("{:>8}  kept\n", report.kept);
    println!("   train    valid     test  label");
    for label in &report.labels {
        println!("{:>8} {:>8} {:>8}  {}", label.train, label.valid, label.test, label.label);
    }
    println!("\nwritten to {}", out.display());
}
