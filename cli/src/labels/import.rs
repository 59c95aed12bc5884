//! `labelstream labels import`: labels from a file, all of them or none.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::json;
use service::DatabaseArguments;
use store::{NewLabel, StoreError};

use crate::print;

/// Flags of `labelstream labels import`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A .csv with a column `label` and `text` (or `review`), `review_id`, or both; a .jsonl with such fields; - for standard
    /// input. Columns `labeled_by` and `labeled_at` are taken over, others are left alone, and so are rows without a label.
    file: PathBuf,

    #[command(flatten)]
    database: DatabaseArguments,

    /// Who said so, where the file does not tell; without it, the database's user.
    #[arg(long, env = "LABELSTREAM_LABELED_BY", value_name = "NAME")]
    labeled_by: Option<String>,

    /// Where the labels come from, for the record; without it, the file's name.
    #[arg(long, env = "LABELSTREAM_SOURCE", value_name = "NAME")]
    source: Option<String>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> Result<()> {
    let name = name_of(&arguments.file);
    let file = read(&arguments.file).with_context(|| name.clone())?;
    let labels = file.labels(arguments.labeled_by.as_deref(), arguments.source.as_deref().unwrap_or(&name));
    let store = arguments.database.connect().await?;
    let imported = match store.add_labels(&labels).await {
        Ok(imported) => imported,
        Err(error) => return Err(file.explain(error)).with_context(|| format!("{name}: nothing was imported")),
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

fn name_of(path: &Path) -> String {
    let is_standard_input = path.as_os_str() == "-";
    let name = path.file_name().filter(|_| !is_standard_input);
    name.map_or_else(|| "standard input".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// What a file says.
#[derive(Debug)]
struct Labels {
    rows: Vec<Row>,
    without_label: u64,
}

/// One label, and where it stands.
#[derive(Debug)]
struct Row {
    line: u64,
    label: Fields,
}

/// The columns of a CSV, or the fields of an object, that mean something here.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct Fields {
    review_id: Option<String>,
    #[serde(alias = "review")]
    text: Option<String>,
    label: Option<String>,
    labeled_by: Option<String>,
    labeled_at: Option<String>,
}

impl Labels {
    fn labels(&self, labeled_by: Option<&str>, source: &str) -> Vec<NewLabel> {
        let labels = self.rows.iter().map(|Row { label, .. }| NewLabel {
            review_id: label.review_id.clone(),
            text: label.text.clone(),
            label: label.label.clone().unwrap_or_default(),
            labeled_by: label.labeled_by.clone().or_else(|| labeled_by.map(str::to_owned)),
            // Was checked when the row was read.
            labeled_at: label.labeled_at.as_deref().and_then(|time| time.parse().ok()),
            source: source.to_owned(),
        });
        labels.collect()
    }

    /// The line that the store complains of, and what to do about it.
    fn explain(&self, error: StoreError) -> anyhow::Error {
        let line = |complained: &dyn Fn(&Fields) -> bool| {
            let row = self.rows.iter().find(|row| complained(&row.label));
            row.map_or_else(String::new, |row| format!("line {}: ", row.line))
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
            _ => error.into(),
        }
    }
}

fn read(path: &Path) -> Result<Labels> {
    if path.as_os_str() == "-" {
        let mut input = BufReader::new(io::stdin());
        let is_json = input.fill_buf()?.trim_ascii_start().starts_with(b"{");
        return if is_json { read_json_lines(input) } else { read_csv(input) };
    }
    let file = File::open(path).context("cannot be read")?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => read_csv(file),
        Some("jsonl" | "ndjson") => read_json_lines(BufReader::new(file)),
        _ => bail!("expected a .csv or .jsonl file, or - for standard input"),
    }
}

fn read_csv(input: impl Read) -> Result<Labels> {
    let mut reader = csv::Reader::from_reader(input);
    let header: csv::StringRecord = (reader.headers().context("the header cannot be read")?.iter())
        .map(|name| name.trim_start_matches('\u{feff}').trim().to_lowercase())
        .collect();
    let has = |name: &str| header.iter().any(|column| column == name);
    let columns = || header.iter().collect::<Vec<_>>().join(", ");
    ensure!(has("label"), "no column label; there are: {}", columns());
    ensure!(
        has("text") || has("review") || has("review_id"),
        "no column text, review or review_id: what was labeled? there are: {}",
        columns()
    );
    ensure!(!(has("text") && has("review")), "a column text and a column review: which of them was labeled?");
    let rows = reader.into_records().map(|cells| {
        let cells = cells?;
        let line = cells.position().map_or(0, csv::Position::line);
        let label = cells.deserialize(Some(&header)).with_context(|| format!("line {line}"))?;
        Ok(Row { line, label })
    });
    gather(rows)
}

fn read_json_lines(input: impl BufRead) -> Result<Labels> {
    let rows = input.lines().zip(1..).filter(|(text, _)| text.as_ref().map_or(true, |text| !text.trim().is_empty()));
    gather(rows.map(|(text, line)| {
        let label = text.map_err(anyhow::Error::from).and_then(|text| Ok(serde_json::from_str(&text)?));
        Ok(Row { line, label: label.with_context(|| format!("line {line}"))? })
    }))
}

fn gather(rows: impl Iterator<Item = Result<Row>>) -> Result<Labels> {
    let mut labels = Labels { rows: Vec::new(), without_label: 0 };
    for row in rows {
        let Row { line, label } = row?;
        match label.checked().with_context(|| format!("line {line}"))? {
            Some(label) => labels.rows.push(Row { line, label }),
            None => labels.without_label += 1,
        }
    }
    ensure!(!labels.rows.is_empty(), "no row has a label");
    Ok(labels)
}

impl Fields {
    /// An empty cell says nothing; a row without a label is still to be filled in.
    fn checked(self) -> Result<Option<Self>> {
        let filled = |cell: Option<String>| cell.filter(|cell| !cell.trim().is_empty());
        let trimmed = |cell: Option<String>| filled(cell).map(|cell| cell.trim().to_owned());
        let fields = Self {
            review_id: filled(self.review_id),
            text: filled(self.text),
            label: trimmed(self.label),
            labeled_by: trimmed(self.labeled_by),
            labeled_at: trimmed(self.labeled_at),
        };
        if fields.label.is_none() {
            return Ok(None);
        }
        ensure!(fields.text.is_some() || fields.review_id.is_some(), "a label, but neither a text nor a review id");
        let all = [&fields.review_id, &fields.text, &fields.label, &fields.labeled_by];
        ensure!(
            !all.into_iter().flatten().any(|cell| cell.contains('\0')),
            "a NUL character, which Postgres cannot hold"
        );
        if let Some(time) = &fields.labeled_at {
            let parsed: DateTime<Utc> =
                time.parse().map_err(|_| anyhow::anyhow!("{time:?} is no time such as 2026-11-22T10:00:00Z"))?;
            // Of two labels the newer counts, so this one would win for as long as it lies ahead. Clocks differ a little.
            ensure!(parsed < Utc::now() + TimeDelta::minutes(5), "labeled_at {time} lies in the future");
        }
        Ok(Some(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(csv: &str) -> String {
        format!("{:#}", read_csv(csv.as_bytes()).unwrap_err())
    }

    #[test]
    fn a_csv_from_labels_next_comes_in_as_it_was_filled_in() {
        let csv =
            "\u{feff}review_id,text,prediction,score,Label\nr-1,\"很快,\n好吃\",差评,0.51,好评\nr-2,凉了,差评,0.52,\n";
        let labels = read_csv(csv.as_bytes()).unwrap();
        assert_eq!((labels.rows.len(), labels.without_label), (1, 1));
        let label = &labels.labels(Some("ada"), "march.csv")[0];
        assert_eq!(label.review_id.as_deref(), Some("r-1"));
        assert_eq!(label.text.as_deref(), Some("很快,\n好吃"));
        assert_eq!((label.label.as_str(), label.labeled_by.as_deref()), ("好评", Some("ada")));
        assert_eq!((label.labeled_at, label.source.as_str()), (None, "march.csv"));
    }

    #[test]
    fn json_lines_are_taken_too() {
        let lines = "{\"review_id\":\"r-1\",\"text\":\"好\",\"score\":0.5,\"label\":\"好评\"}\n\n{\"review\":\"差\",\"label\":\"\"}\n";
        let labels = read_json_lines(lines.as_bytes()).unwrap();
        assert_eq!((labels.rows.len(), labels.without_label), (1, 1));
        let error = read_json_lines("{\"label\":\"a\",\"text\":\"b\"}\n{\n".as_bytes()).unwrap_err();
        assert!(format!("{error:#}").starts_with("line 2: "), "{error:#}");
    }

    #[test]
    fn the_file_s_own_word_on_who_and_when_comes_first() {
        let csv = "label,review,labeled_by,labeled_at\n好评,好,bo,2026-01-02T03:04:05+08:00\n好评,棒,,\n";
        let labels = read_csv(csv.as_bytes()).unwrap().labels(Some("ada"), "x");
        assert_eq!(labels[0].labeled_by.as_deref(), Some("bo"));
        assert_eq!(labels[0].labeled_at.unwrap().to_rfc3339(), "2026-01-01T19:04:05+00:00");
        assert_eq!((labels[1].labeled_by.as_deref(), labels[1].labeled_at), (Some("ada"), None));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        assert_eq!(error("text,stars\n好,5\n"), "no column label; there are: text, stars");
        assert!(error("label,stars\na,5\n").starts_with("no column text, review or review_id"));
        assert_eq!(error("label,text\na,b\nc,\n"), "line 3: a label, but neither a text nor a review id");
        assert_eq!(error("label,text\n,b\n"), "no row has a label");
        assert_eq!(error("label,text\na,b\0\n"), "line 2: a NUL character, which Postgres cannot hold");
        assert!(error("label,text\na,b,c\n").contains("line: 2"), "{}", error("label,text\na,b,c\n"));
        assert!(error("label,text,labeled_at\na,b,yesterday\n").starts_with("line 2: \"yesterday\" is no time"));
        assert!(error("label,text,labeled_at\na,b,2999-01-01T00:00:00Z\n").ends_with("lies in the future"));
    }
}
