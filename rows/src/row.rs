//! The rows of a file, as named fields.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use crate::column::Column;
use crate::csv::{Csv, Record};
use crate::lines::{Line, Lines};
use crate::location::Location;

/// A row: its fields in the order of the file. Cells of a CSV are texts; fields of JSON are as they
/// stand there.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Where it begins.
    pub location: Location,
    /// What stands there, by name.
    pub fields: Map<String, Value>,
}

/// The rows of a file, one after the other. Blank lines are none.
pub struct Rows {
    file: Arc<str>,
    kind: Kind,
}

enum Kind {
    Csv(Csv, Vec<String>),
    JsonLines(Lines),
    Lines(Lines),
}

impl Rows {
    /// The rows of a CSV, whose header is read now.
    pub(crate) fn csv(mut csv: Csv, file: Arc<str>) -> Result<Self> {
        let header = csv.read()?.with_context(|| format!("{file}: empty: a header row was expected"))?;
        let names: Vec<String> = header.cells.iter().map(|name| name.trim().to_owned()).collect();
        if names.iter().any(|name| name.contains('\0')) {
            return Err(header
                .location
                .error("a NUL in the header; is the file UTF-16? then give --encoding utf-16le"));
        }
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            if names[..index].iter().any(|earlier| earlier.eq_ignore_ascii_case(name)) {
                return Err(header
                    .location
                    .error(format_args!("two columns are called {name:?}: which of them counts?")));
            }
        }
        Ok(Self { file, kind: Kind::Csv(csv, names) })
    }

    /// Every line is a JSON object.
    pub(crate) fn json_lines(lines: Lines, file: Arc<str>) -> Self {
        Self { file, kind: Kind::JsonLines(lines) }
    }

    /// Every line is a text.
    pub(crate) fn lines(lines: Lines, file: Arc<str>) -> Self {
        Self { file, kind: Kind::Lines(lines) }
    }

    /// What errors call the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The columns that every row has; `None` where each row has its own.
    pub fn columns(&self) -> Option<Vec<&str>> {
        match &self.kind {
            Kind::Csv(_, names) => Some(names.iter().map(String::as_str).collect()),
            Kind::JsonLines(_) => None,
            Kind::Lines(_) => Some(vec!["text"]),
        }
    }

    /// Whether there is such a column, or a row may have one.
    pub fn may_have(&self, column: &Column) -> bool {
        self.columns().is_none_or(|names| column.find(|| names.iter().copied()).is_some())
    }

    /// Refuses a file without such a column, before its first row.
    ///
    /// # Errors
    /// No such column; which ones there are.
    pub fn require(&self, column: &Column) -> Result<()> {
        if self.may_have(column) {
            return Ok(());
        }
        let names = self.columns().unwrap_or_default();
        Err(column.missing(names.into_iter()).context(self.file.to_string()))
    }
}

impl Iterator for Rows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        let filled = |lines: &mut Lines| lines.find(|line| line.as_ref().map_or(true, |line| !line.is_blank()));
        match &mut self.kind {
            Kind::Csv(csv, names) => Some(csv.read().transpose()?.and_then(|record| Row::of_cells(record, names))),
            Kind::JsonLines(lines) => Some(filled(lines)?.and_then(|line| Row::of_json(&line))),
            Kind::Lines(lines) => Some(filled(lines)?.and_then(|line| Row::of_text(&line))),
        }
    }
}

impl Row {
    /// The object that stands on a line.
    ///
    /// # Errors
    /// Anything else.
    pub fn of_json(line: &Line) -> Result<Self> {
        match serde_json::from_str(line.text()?) {
            Ok(Value::Object(fields)) => Ok(Self { location: line.location.clone(), fields }),
            Ok(_) => Err(line.location.error("not a JSON object")),
            Err(error) => Err(line.location.error(format_args!("not JSON: {error}"))),
        }
    }

    /// A line as the field `text`.
    pub fn of_text(line: &Line) -> Result<Self> {
        let fields = [("text".to_owned(), line.text()?.into())].into_iter().collect();
        Ok(Self { location: line.location.clone(), fields })
    }

    fn of_cells(record: Record, header: &[String]) -> Result<Self> {
        let (cells, columns) = (record.cells.len(), header.len());
        if cells != columns {
            return Err(record.location.error(format_args!(
                "{cells} fields where the header has {columns}; is a text with commas not quoted?"
            )));
        }
        let named = header.iter().zip(record.cells).filter(|(name, _)| !name.is_empty());
        let fields = named.map(|(name, cell)| (name.clone(), cell.into())).collect();
        Ok(Self { location: record.location, fields })
    }

    /// Takes a field out as a text; numbers are written out, null is an empty text.
    ///
    /// # Errors
    /// A field that is no text.
    pub fn take(&mut self, column: &Column) -> Result<Option<String>> {
        let Some(name) = column.find(|| self.fields.keys().map(String::as_str)).map(str::to_owned) else {
            return Ok(None);
        };
        match self.fields.shift_remove(&name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(String::new())),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(number @ Value::Number(_)) => Ok(Some(number.to_string())),
            Some(_) => Err(self.location.error(format_args!("the field `{name}` is no text"))),
        }
    }

    /// [`take`](Self::take) of a field that every row must have.
    ///
    /// # Errors
    /// A row that has no such field, too.
    pub fn take_required(&mut self, column: &Column) -> Result<String> {
        match self.take(column)? {
            Some(text) => Ok(text),
            None => Err(self.location.error(column.missing(self.fields.keys().map(String::as_str)))),
        }
    }
}
