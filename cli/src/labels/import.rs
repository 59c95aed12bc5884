//! `labelstream labels import`: labels from a file, all of them or none.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rows::{Format, Input};
use serde_json::json;
use service::DatabaseArguments;
use store::StoreError;

use super::file::{Fields, Labels};
use crate::dataset_flags::FileFlags;
use crate::print;

/// Flags of `labelstream labels import`.
#[derive(clap::Args)]
pub struct Arguments {
    /// File of labels: a CSV, JSON lines, or - for standard input. It has a column `label` and
    /// `text` (or `review`), `review_id`, or both; `labeled_by` and `labeled_at` are imported too.
    /// Rows without a label are left out; a review id that has two texts, here or in the database,
    /// is refused. Or what Label Studio exports, as JSON or JSON-MIN.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    format: FileFlags,

    #[command(flatten)]
    database: DatabaseArguments,

    /// Who labeled the rows that do not name anybody [default: the database's user]
    #[arg(long, value_name = "NAME")]
    labeled_by: Option<String>,

    /// Where the labels come from, for the record [default: the file's name]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> Result<()> {
    let name = name_of(&arguments.file);
    if let Some(export) = label_studio_export(&arguments.file)? {
        let labels = page::labels_of(&export, arguments.labeled_by.as_deref().unwrap_or("label studio"));
        let mut labels = labels.with_context(|| format!("{name}: nothing was imported"))?;
        if let Some(source) = &arguments.source {
            labels.iter_mut().for_each(|label| label.source.clone_from(source));
        }
        let imported = arguments.database.connect().await?.add_labels(&labels).await;
        let imported = imported.with_context(|| format!("{name}: nothing was imported"))?;
        if arguments.json {
            return print::json(&json!({"imported": imported, "without_label": 0}));
        }
        println!("imported {} labels from {name}", print::grouped(imported));
        return Ok(());
    }
    let input = Input::open(&arguments.file, arguments.format.options(), Some(Format::Csv))?;
    let file = Labels::read(input.rows()?)?;
    let labels = file.labels(arguments.labeled_by.as_deref(), arguments.source.as_deref().unwrap_or(&name));
    if let Some(warning) = file.warning() {
        eprintln!("warning: {warning}");
    }
    let store = arguments.database.connect().await?;
    let imported = match store.add_labels(&labels).await {
        Ok(imported) => imported,
        Err(error) => return Err(explain(&file, error)).with_context(|| format!("{name}: nothing was imported")),
    };
    if arguments.json {
        return print::json(&json!({"imported": imported, "without_label": file.without_label}));
    }
    println!(
        "imported {} labels from {name}{}",
        print::grouped(imported),
        match file.without_label {
            0 => String::new(),
            rows => format!("; {} rows have none yet", print::grouped(rows)),
        }
    );
    Ok(())
}

/// The file as JSON, if it is an export of Label Studio's: an array, which no other file begins with.
fn label_studio_export(path: &Path) -> Result<Option<serde_json::Value>> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let json = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    if !json.trim_ascii_start().starts_with(b"[") {
        return Ok(None);
    }
    // A CSV may begin so, too.
    Ok(serde_json::from_slice(json).ok().filter(page::is_export))
}

fn name_of(path: &Path) -> String {
    let is_standard_input = path.as_os_str() == "-";
    let name = path.file_name().filter(|_| !is_standard_input);
    name.map_or_else(|| "standard input".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The line that the store complains of, and what to do about it.
fn explain(file: &Labels, error: StoreError) -> anyhow::Error {
    let line = |complained: &dyn Fn(&Fields) -> bool| {
        let row = file.rows.iter().find(|row| complained(&row.label));
        row.map_or_else(String::new, |row| format!("line {}: ", row.location.line))
    };
    match &error {
        StoreError::UnknownLabel { label, known } => anyhow::anyhow!(
            "{}{label:?} is no class; the classes are {}; `labelstream labels add-class {label}` makes it one",
            line(&|row| row.label.as_ref() == Some(label)),
            known.join(", "),
        ),
        StoreError::NoSuchReview(id) => anyhow::anyhow!(
            "{}no review {id:?} has come through the stream; with its text it can be labeled all the same",
            line(&|row| row.text.is_none() && row.review_id.as_ref() == Some(id)),
        ),
        StoreError::OtherText { review_id, text, .. } => {
            let line = line(&|row| row.review_id.as_ref() == Some(review_id) && row.text.as_ref() == Some(text));
            anyhow::anyhow!("{line}{error}")
        }
        _ => error.into(),
    }
}
