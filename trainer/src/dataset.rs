//! Examples of known classes, and how files write these classes.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::class_names::{refuse_alike_labels, written_alike};
use crate::labeled_rows::{Columns, Row, read};
use crate::lessons::Lessons;

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
    pub classes: Vec<String>,
    /// Examples to learn from.
    pub train: Vec<Example>,
    /// Examples that choose the best checkpoint.
    pub valid: Vec<Example>,
    /// What a teacher says of the examples to learn from, and of texts without labels.
    pub lessons: Option<Lessons>,
}

impl Dataset {
    /// Examples from rows. The classes are those of the training rows, or `names` in their order:
    /// see [`LabelMap::learn`].
    pub fn new(train: &[Row], valid: &[Row], names: Option<&[String]>) -> Result<Self> {
        let classes = LabelMap::learn(train, names)?;
        Ok(Self {
            train: classes.examples(train).context("in the training data")?,
            valid: classes.examples(valid).context("in the validation data")?,
            classes: classes.names().to_vec(),
            lessons: None,
        })
    }

    /// Reads `train_data.csv` and `valid_data.csv` of a directory that `prepare` wrote.
    pub fn open(directory: &Path, columns: &Columns, names: Option<&[String]>) -> Result<Self> {
        let train = read(&directory.join("train_data.csv"), columns)?;
        let valid = read(&directory.join("valid_data.csv"), columns)?;
        Self::new(&train, &valid, names)
    }
}

/// The classes of a data set, and how its files write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    names: Vec<String>,
    /// What stands in the file for each class, where that is not its name.
    written: Vec<String>,
}

impl LabelMap {
    /// The labels that occur: integers in numeric order, names sorted.
    ///
    /// `names` gives the order, where the files hold names, or names the integers, in numeric order
    /// (`["bad", "good"]` for 0 and 1).
    ///
    /// # Errors
    /// Fewer than two classes, names that are not those of the labels, labels that differ in their
    /// writing alone.
    pub fn learn(rows: &[Row], names: Option<&[String]>) -> Result<Self> {
        refuse_alike_labels(rows.iter().map(|row| (row.line, row.label.as_str())), names.unwrap_or_default())?;
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
        ensure!(names.len() >= 2 && distinct.len() == names.len(), "--classes must name two or more different classes");
        if integers && !written.iter().all(|label| names.contains(label)) {
            ensure!(
                written.len() == names.len(),
                "--classes names {} classes, but the data have {}: {}",
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

    /// The rows as examples. All labels of a file are read alike: as names where all of them are
    /// names; otherwise none may be the name of one class and the number of another.
    ///
    /// # Errors
    /// A label that is no class, or could be two, with its line.
    pub fn examples(&self, rows: &[Row]) -> Result<Vec<Example>> {
        let is_name = |row: &Row| self.names.iter().any(|name| name == row.label.trim());
        let other = rows.iter().find(|row| !is_name(row));
        rows.iter().map(|row| self.example(row, other)).collect()
    }

    /// `other` is a row whose label is no name.
    fn example(&self, row: &Row, other: Option<&Row>) -> Result<Example> {
        let label = row.label.trim();
        let position = |names: &[String]| names.iter().position(|name| name == label);
        let (named, numbered) = (position(&self.names), position(&self.written));
        if let (Some(named), Some(numbered), Some(other)) = (named, numbered, other)
            && named != numbered
        {
            bail!(
                "line {}: {label:?} is the name of one class and the number of another, {:?}, and {:?} on line {} is no name: write names alone",
                row.line,
                self.names[numbered],
                other.label.trim(),
                other.line,
            );
        }
        let Some(class) = named.or(numbered) else {
            let meant = self.names.iter().find(|name| written_alike(name) == written_alike(label));
            let meant = meant.map_or_else(String::new, |name| format!("; is it {name:?}?"));
            bail!("line {}: {label:?} is no class; the classes are {}{meant}", row.line, listed(&self.names));
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

/// At most ten names, for messages.
fn listed(names: &[String]) -> String {
    let more = if names.len() > 10 { ", ..." } else { "" };
    let shown: Vec<&str> = names.iter().take(10).map(String::as_str).collect();
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn integers_are_ordered_as_numbers_and_names_as_text() {
        let integers = LabelMap::learn(&rows(&["10", "2", "-1", "2"]), None).unwrap();
        assert_eq!(integers.names(), names(&["-1", "2", "10"]));
        let words = LabelMap::learn(&rows(&["good", "bad", "10"]), None).unwrap();
        assert_eq!(words.names(), names(&["10", "bad", "good"]));
    }

    #[test]
    fn integers_can_be_given_names() {
        let rows = rows(&["1", "0", "好评"]);
        let classes = LabelMap::learn(&rows[..2], Some(&names(&["差评", "好评"]))).unwrap();
        let labels: Vec<usize> = classes.examples(&rows).unwrap().iter().map(|e| e.label).collect();
        assert_eq!(labels, [1, 0, 1]);
    }

    #[test]
    fn given_names_set_the_order() {
        let rows = rows(&["good", "bad"]);
        let classes = LabelMap::learn(&rows, Some(&names(&["good", "bad", "mixed"]))).unwrap();
        assert_eq!(classes.examples(&rows).unwrap()[1].label, 1);
    }

    #[test]
    fn a_label_that_is_no_class_is_an_error_with_its_line() {
        let error = message(LabelMap::of_model(&names(&["bad", "good"])).examples(&rows(&["0", "2"])));
        assert!(error.contains("line 3") && error.contains("bad, good"), "{error}");
    }

    #[test]
    fn numbers_that_are_names_too_have_one_reading_for_the_whole_file_or_are_refused() {
        let classes = |classes: &LabelMap, labels: &[&str]| -> Result<Vec<usize>> {
            Ok(classes.examples(&rows(labels))?.iter().map(|example| example.label).collect())
        };
        let stars = LabelMap::of_model(&names(&["1", "2", "3"]));
        assert_eq!(classes(&stars, &["3", "1", "2"]).unwrap(), [2, 0, 1], "all are names");
        let both = message(classes(&stars, &["1", "0", "2"]));
        assert!(both.contains("line 2: \"1\" is the name of one class and the number of another"), "{both}");
        assert!(both.contains("\"0\" on line 3 is no name"), "{both}");
        let turned = LabelMap::of_model(&names(&["1", "0"]));
        assert_eq!(classes(&turned, &["1", "0"]).unwrap(), [0, 1]);
        let ambiguous = rows(&["0", "1"]);
        let learned = LabelMap::learn(&ambiguous, Some(&names(&["1", "2"]))).unwrap();
        assert!(message(learned.examples(&ambiguous)).contains("name of one class and the number of another"));
        let alike = message(LabelMap::of_model(&names(&["bad", "good"])).examples(&rows(&["Good "])));
        assert!(alike.contains("is it \"good\"?"), "{alike}");
        assert!(message(LabelMap::learn(&rows(&["1", "0", "1.0"]), None)).contains("differ in their writing alone"));
    }

    #[test]
    fn a_wrong_number_of_names_or_one_class_alone_is_refused() {
        let three = rows(&["0", "1", "2"]);
        assert!(message(LabelMap::learn(&three, Some(&names(&["bad", "good"])))).contains("--classes"));
        assert!(message(LabelMap::learn(&rows(&["1", "1"]), None)).contains("two classes"));
    }
}
