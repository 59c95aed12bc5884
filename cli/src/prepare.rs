//! `labelstream prepare`: a file of labeled reviews to the files that `train` reads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use trainer::prepare::{self, Options, Report};
use trainer::{ClassNames, LabelMap, Row, class_names, labeled_rows, refuse_alike_labels, warnings};

use crate::dataset_flags::ColumnFlags;
use crate::print;

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

    /// Names of the classes, in order: `--classes bad,good` for the labels 0 and 1; a name with a
    /// comma stands in quotes, as in a CSV [default: labels stay as they are]
    #[arg(long, alias = "labels", value_parser = class_names)]
    classes: Option<Vec<ClassNames>>,

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
    let file = || arguments.input.display().to_string();
    let classes = arguments.classes.as_deref().map(<[_]>::concat);
    let labels = rows.iter().map(|row| (row.line, row.label.as_str()));
    refuse_alike_labels(labels, classes.as_deref().unwrap_or_default()).with_context(file)?;
    if let Some(names) = &classes {
        name_classes(&mut rows, names).with_context(file)?;
    }
    let contradictions =
        warnings::of_texts(rows.iter().filter(|row| is_whole(row)).map(|row| (row.text.as_str(), row.label.trim())));
    let options =
        Options { clean: arguments.clean, valid: arguments.valid, test: arguments.test, seed: arguments.seed };
    let prepared = prepare::prepare(rows, &options)?;
    prepare::write(&prepared, out)?;
    let few = prepared.report.labels.iter().filter(|label| label.train + label.valid + label.test < 3).map(|label| {
        let texts = if label.train + label.valid + label.test == 1 { "one text" } else { "two texts" };
        format!("label {:?} has {texts}: too few to learn it and to measure it", label.label)
    });
    let warnings: Vec<String> = contradictions.into_iter().chain(few).collect();
    print::warnings(&warnings);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&print::with_warnings(&prepared.report, &warnings)?)?);
    } else {
        print_report(&prepared.report, out);
    }
    Ok(())
}

/// Whether a row has a text that is seen, and a label.
fn is_whole(row: &Row) -> bool {
    !row.label.trim().is_empty() && !prepare::key(&row.text).is_empty()
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
    let examples = classes.examples(&labeled)?;
    for (row, example) in rows.iter_mut().filter(|row| !row.label.trim().is_empty()).zip(examples) {
        row.label.clone_from(&names[example.label]);
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
