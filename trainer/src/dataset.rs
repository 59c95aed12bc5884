//! Labeled texts: CSV rows as they stand in a file, and examples of known classes.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A row of a CSV file, as it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Line of the file on which the row starts.
    pub line: u64,
    /// The text.
    pub text: String,
    /// The label, an integer or a name.
    pub label: String,
}

/// Which columns to read; `None` looks for the usual names, `text` or `review`, and `label`.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Header of the column of texts.
    pub text: Option<String>,
    /// Header of the column of labels.
    pub label: Option<String>,
}

/// A text and the index of its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The text.
    pub text: String,
    /// Index into the names of the classes.
    pub label: usize,
}

/// What a classifier is fitted on.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Names of the classes, in the order of the model's outputs.
    pub labels: Vec<String>,
    /// Examples to learn from.
    pub train: Vec<Example>,
    /// Examples that choose the best checkpoint.
    pub valid: Vec<Example>,
}

impl Dataset {
    /// Examples from rows. The classes are those of the training rows, or `names` in their order: see [`Classes::learn`].
    pub fn new(train: &[Row], valid: &[Row], names: Option<&[String]>) -> Result<Self> {
        let classes = Classes::learn(train, names)?;
        Ok(Self {
            train: classes.examples(train).context("in the training data")?,
            valid: classes.examples(valid).context("in the validation data")?,
            labels: classes.names,
        })
    }

    /// Reads `train_data.csv` and `valid_data.csv` of a directory that `prepare` wrote.
    pub fn open(directory: &Path, columns: &Columns, names: Option<&[String]>) -> Result<Self> {
        let train = read_csv(&directory.join("train_data.csv"), columns)?;
        let valid = read_csv(&directory.join("valid_data.csv"), columns)?;
        Self::new(&train, &valid, names)
    }
}

/// The classes of a data set, and how its files write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    names: Vec<String>,
    /// What stands in the file for each class, where that is not its name.
    written: Vec<String>,
}

impl Classes {
    /// The labels that occur: integers in numeric order, names sorted.
    ///
    /// `names` gives the order, where the files hold names, or names the integers, in numeric order
    /// (`["bad", "good"]` for 0 and 1).
    pub fn learn(rows: &[Row], names: Option<&[String]>) -> Result<Self> {
        let mut written = sort_labels(rows.iter().map(|row| row.label.trim()));
        let integers = written.iter().all(|label| label.parse::<i64>().is_ok());
        let Some(names) = names else {
            ensure!(
                written.len() >= 2,
                "a classifier needs two classes or more, the data have {}: {}",
                written.len(),
                listed(&written)
            );
            return Ok(Self { names: written.clone(), written });
        };
        let distinct: BTreeSet<&String> = names.iter().collect();
        ensure!(names.len() >= 2 && distinct.len() == names.len(), "--labels must name two or more different classes");
        if integers && !written.iter().all(|label| names.contains(label)) {
            ensure!(
                written.len() == names.len(),
                "--labels names {} classes, but the data have {}: {}",
                names.len(),
                written.len(),
                listed(&written)
            );
        } else {
            written = names.to_vec();
        }
        Ok(Self { names: names.to_vec(), written })
    }

    /// The classes of a model; integers in a file are the indices of its classes.
    pub fn of_model(names: &[String]) -> Self {
        Self { names: names.to_vec(), written: (0..names.len()).map(|index| index.to_string()).collect() }
    }

    /// Names of the classes, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The rows as examples; a label that is no class is an error that names its line.
    pub fn examples(&self, rows: &[Row]) -> Result<Vec<Example>> {
        rows.iter().map(|row| self.example(row)).collect()
    }

    fn example(&self, row: &Row) -> Result<Example> {
        let label = row.label.trim();
        let position = |names: &[String]| names.iter().position(|name| name == label);
        let Some(class) = position(&self.names).or_else(|| position(&self.written)) else {
            bail!("line {}: {label:?} is no class; the classes are {}", row.line, listed(&self.names));
        };
        Ok(Example { text: row.text.clone(), label: class })
    }
}

/// The different labels: in numeric order where all are integers, else sorted as text.
pub(crate) fn sort_labels<'a>(labels: impl Iterator<Item = &'a str>) -> Vec<String> {
    let distinct: BTreeSet<&str> = labels.collect();
    let mut sorted: Vec<String> = distinct.into_iter().map(str::to_owned).collect();
    let numbers: Option<Vec<i64>> = sorted.iter().map(|label| label.parse().ok()).collect();
    if numbers.is_some() {
        sorted.sort_by_cached_key(|label| label.parse::<i64>().ok());
    }
    sorted
}

/// Reads the rows of a CSV file with a header, UTF-8 with or without a byte-order mark.
///
/// A missing column, a row with more or fewer fields than the header, and bytes that are no UTF-8 are errors that name
/// the file and the line.
pub fn read_csv(path: &Path, columns: &Columns) -> Result<Vec<Row>> {
    let file = File::open(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    read_rows(file, columns).with_context(|| path.display().to_string())
}

/// [`read_csv`] for anything that can be read.
pub fn read_rows(input: impl Read, columns: &Columns) -> Result<Vec<Row>> {
    let mut reader = csv::Reader::from_reader(input);
    let headers = reader.headers().map_err(explain)?.clone();
    ensure!(!headers.is_empty(), "empty: a header row was expected");
    let text = find_column(&headers, columns.text.as_deref(), &["text", "review"], "text")?;
    let label = find_column(&headers, columns.label.as_deref(), &["label"], "label")?;
    let mut rows = Vec::new();
    for record in reader.into_records() {
        let record = record.map_err(explain)?;
        rows.push(Row {
            line: record.position().map_or(0, csv::Position::line),
            text: record[text].to_owned(),
            label: record[label].to_owned(),
        });
    }
    Ok(rows)
}

fn find_column(headers: &csv::StringRecord, told: Option<&str>, usual: &[&str], what: &str) -> Result<usize> {
    let wanted = told.map_or(usual.to_vec(), |name| vec![name]);
    for name in &wanted {
        let found = headers.iter().position(|header| header.trim().eq_ignore_ascii_case(name));
        if let Some(index) = found {
            return Ok(index);
        }
    }
    let headers: Vec<String> = headers.iter().map(str::to_owned).collect();
    bail!("no column {}; the columns are {}: name it with --{what}-column", wanted.join(" or "), listed(&headers))
}

/// The csv crate's errors in words that help whoever made the file.
fn explain(error: csv::Error) -> anyhow::Error {
    let line = |position: &Option<csv::Position>| {
        position.as_ref().map_or_else(|| "line 1".to_owned(), |position| format!("line {}", position.line()))
    };
    match error.kind() {
        csv::ErrorKind::Utf8 { pos, .. } => {
            anyhow::anyhow!("{}: not UTF-8; save the file as UTF-8 (a table from Excel is often GB18030)", line(pos))
        }
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => anyhow::anyhow!(
            "{}: {len} fields where the header has {expected_len}; is a text with commas not quoted?",
            line(pos)
        ),
        _ => error.into(),
    }
}

/// At most ten names, for messages.
fn listed(names: &[String]) -> String {
    let more = if names.len() > 10 { ", ..." } else { "" };
    let shown: Vec<&str> = names.iter().take(10).map(String::as_str).collect();
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<Row>> {
        read_rows(text, &Columns::default())
    }

    fn message(result: Result<impl std::fmt::Debug>) -> String {
        format!("{:#}", result.expect_err("must be refused"))
    }

    fn rows(labels: &[&str]) -> Vec<Row> {
        let row = |(index, label): (usize, &&str)| Row {
            line: index as u64 + 2,
            text: format!("text {index}"),
            label: (*label).to_owned(),
        };
        labels.iter().enumerate().map(row).collect()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_column() {
        let with = read(b"\xef\xbb\xbflabel,review\n1,\"a, b\"\n").unwrap();
        assert_eq!(with, read(b"label,review\n1,\"a, b\"\n").unwrap());
        assert_eq!((with[0].text.as_str(), with[0].line), ("a, b", 2));
    }

    #[test]
    fn columns_are_found_by_the_usual_names_or_as_told() {
        assert_eq!(read(b"id,Text,LABEL\n1,x,0\n").unwrap()[0].text, "x");
        let columns = Columns { text: Some("comment".to_owned()), label: Some("stars".to_owned()) };
        let told = read_rows(&b"comment,stars,text\nx,5,y\n"[..], &columns).unwrap();
        assert_eq!((told[0].text.as_str(), told[0].label.as_str()), ("x", "5"));
    }

    #[test]
    fn a_missing_column_is_named_beside_those_that_are_there() {
        let error = message(read(b"label,comment\n1,x\n"));
        assert!(error.contains("text or review") && error.contains("comment"), "{error}");
        assert!(error.contains("--text-column"), "{error}");
    }

    #[test]
    fn a_ragged_row_is_an_error_with_its_line() {
        let error = message(read(b"label,text\n1,x\n0,a,b\n"));
        assert!(error.contains("line 3") && error.contains("3 fields"), "{error}");
    }

    #[test]
    fn bad_utf8_is_an_error_with_its_line() {
        let error = message(read(b"label,text\n1,x\n0,\xb2\xee\n"));
        assert!(error.contains("line 3: not UTF-8"), "{error}");
    }

    #[test]
    fn an_empty_file_is_an_error() {
        assert!(message(read(b"")).contains("header"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = message(read_csv(Path::new("nowhere.csv"), &Columns::default()));
        assert!(error.contains("nowhere.csv"), "{error}");
    }

    #[test]
    fn integers_are_ordered_as_numbers_and_names_as_text() {
        let integers = Classes::learn(&rows(&["10", "2", "-1", "2"]), None).unwrap();
        assert_eq!(integers.names(), names(&["-1", "2", "10"]));
        let words = Classes::learn(&rows(&["good", "bad", "10"]), None).unwrap();
        assert_eq!(words.names(), names(&["10", "bad", "good"]));
    }

    #[test]
    fn integers_can_be_given_names() {
        let rows = rows(&["1", "0", "好评"]);
        let classes = Classes::learn(&rows[..2], Some(&names(&["差评", "好评"]))).unwrap();
        let labels: Vec<usize> = classes.examples(&rows).unwrap().iter().map(|e| e.label).collect();
        assert_eq!(labels, [1, 0, 1]);
    }

    #[test]
    fn given_names_set_the_order() {
        let rows = rows(&["good", "bad"]);
        let classes = Classes::learn(&rows, Some(&names(&["good", "bad", "mixed"]))).unwrap();
        assert_eq!(classes.examples(&rows).unwrap()[1].label, 1);
    }

    #[test]
    fn a_label_that_is_no_class_is_an_error_with_its_line() {
        let error = message(Classes::of_model(&names(&["bad", "good"])).examples(&rows(&["0", "2"])));
        assert!(error.contains("line 3") && error.contains("bad, good"), "{error}");
    }

    #[test]
    fn a_wrong_number_of_names_or_one_class_alone_is_refused() {
        let three = rows(&["0", "1", "2"]);
        assert!(message(Classes::learn(&three, Some(&names(&["bad", "good"])))).contains("--labels"));
        assert!(message(Classes::learn(&rows(&["1", "1"]), None)).contains("two classes"));
    }
}
