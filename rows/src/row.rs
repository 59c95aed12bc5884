//! The rows of a file, as named fields.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use crate::column::Column;
use crate::csv::{Csv, Record};
use crate::json::Unambiguous;
use crate::lines::{Line, Lines};
use crate::location::Location;
use crate::swallowed::Swallowed;

/// From here on a number in JSON is not every integer: 2 to the power of 53.
const EXACT: f64 = 9_007_199_254_740_992.0;

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
    Csv(Csv, Table),
    JsonLines(Lines),
    Lines(Lines),
}

struct Table {
    header: Vec<String>,
    swallowed: Swallowed,
}

impl Rows {
    /// The rows of a CSV, whose header is read now.
    pub(crate) fn csv(mut csv: Csv, file: Arc<str>) -> Result<Self> {
        let header = csv.read()?.with_context(|| format!("{file}: empty: a header row was expected"))?;
        let names: Vec<String> = header.cells.iter().map(|name| name.trim().to_owned()).collect();
        if let Some(separator) = names[0].strip_prefix("sep=") {
            return Err(header.location.error(match separator {
                "" | "," => "`sep=` is a spreadsheet's own: remove this line, the header comes first".to_owned(),
                other => format!(
                    "the columns are separated by {other:?}: save the table separated by commas, without this line"
                ),
            }));
        }
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            if names[..index].iter().any(|earlier| earlier.eq_ignore_ascii_case(name)) {
                return Err(header
                    .location
                    .error(format_args!("two columns are called {name:?}: which of them counts?")));
            }
        }
        Ok(Self { file, kind: Kind::Csv(csv, Table { header: names, swallowed: Swallowed::default() }) })
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
            Kind::Csv(_, table) => Some(table.header.iter().map(String::as_str).collect()),
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
            Kind::Csv(csv, table) => table.next(csv),
            Kind::JsonLines(lines) => Some(filled(lines)?.and_then(|line| Row::of_json(&line))),
            Kind::Lines(lines) => Some(filled(lines)?.and_then(|line| Row::of_text(&line))),
        }
    }
}

impl Table {
    fn next(&mut self, csv: &mut Csv) -> Option<Result<Row>> {
        let record = match csv.read() {
            Ok(Some(record)) => record,
            Ok(None) => return self.swallowed.end().err().map(Err),
            Err(error) => return Some(Err(error)),
        };
        let watched = self.swallowed.watch(&record, self.header.len());
        Some(watched.and_then(|()| Row::of_cells(record, &self.header)))
    }
}

impl Row {
    /// The object that stands on a line.
    ///
    /// # Errors
    /// Anything else.
    pub fn of_json(line: &Line) -> Result<Self> {
        let text = line.characters()?;
        if text.trim_start().starts_with('[') {
            return Err(line.location.error(
                "not a JSON object, but an array: an object a line is expected, as `jq -c '.[]'` makes them of it",
            ));
        }
        match serde_json::from_str(text) {
            Ok(Unambiguous(Value::Object(fields))) => Ok(Self { location: line.location.clone(), fields }),
            Ok(_) => Err(line.location.error("not a JSON object")),
            Err(error) if text.trim() == "{" => Err(line
                .location
                .error(format_args!("not JSON: {error}; an object stands on one line, as `jq -c .` writes it"))),
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
        let is_again = |(cell, name): (&String, &String)| cell.trim().eq_ignore_ascii_case(name);
        if columns > 1 && record.cells.iter().zip(header).all(is_again) {
            return Err(record
                .location
                .error("the header stands here again: were two files put together? remove this line"));
        }
        // A table's first column may be a number of the row, which tools leave without a name.
        let mut unnamed = header.iter().zip(&record.cells).skip(1).filter(|(name, _)| name.is_empty());
        if let Some((_, cell)) = unnamed.find(|(_, cell)| !cell.trim().is_empty()) {
            return Err(record.location.error(format_args!(
                "a field under a column without a name: {cell:?}; is a text with commas not quoted?"
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
            Some(Value::Number(number))
                if number.is_f64() && number.as_f64().is_some_and(|number| number.abs() >= EXACT) =>
            {
                Err(self.location.error(format_args!(
                    "the number in the field `{name}` is too long to be kept as it is: put it in quotes"
                )))
            }
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
