//! Labeled texts as they stand in a file.

use std::path::Path;

use anyhow::{Result, ensure};
use rows::{Column, Format, Input, Options, Rows};

/// A row of a file, as it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Line of the file on which the row starts.
    pub line: u64,
    /// The text.
    pub text: String,
    /// The label, an integer or a name.
    pub label: String,
}

/// Which columns to read, and how; `None` looks for the usual names, `text` or `review`, and
/// `label`.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Name of the column of texts.
    pub text: Option<String>,
    /// Name of the column of labels.
    pub label: Option<String>,
    /// What a person says of the file's format and encoding.
    pub options: Options,
}

/// Reads the rows of a file: a CSV, or JSON lines.
///
/// # Errors
/// What [`rows`] refuses, a missing column, a row without a text or label: each with the file and
/// the line.
pub fn read(path: &Path, columns: &Columns) -> Result<Vec<Row>> {
    read_rows(Input::open(path, columns.options, Some(Format::Csv))?.rows()?, columns)
}

/// [`read`] for rows of any origin.
pub fn read_rows(rows: Rows, columns: &Columns) -> Result<Vec<Row>> {
    let (text, label) = (Column::text(columns.text.as_deref()), Column::label(columns.label.as_deref()));
    rows.require(&text)?;
    rows.require(&label)?;
    rows.map(|row| {
        let mut row = row?;
        Ok(Row { line: row.location.line, text: row.take_required(&text)?, label: row.take_required(&label)? })
    })
    .collect()
}

/// Reads the texts of a file whose labels, if it has any, do not matter. Rows without a text are left
/// out.
///
/// # Errors
/// What [`rows`] refuses, a missing column: each with the file and the line.
pub fn read_texts(path: &Path, columns: &Columns) -> Result<Vec<String>> {
    let rows = Input::open(path, columns.options, Some(Format::Csv))?.rows()?;
    let text = Column::text(columns.text.as_deref());
    rows.require(&text)?;
    let texts: Vec<String> = rows.map(|row| row?.take(&text)).filter_map(Result::transpose).collect::<Result<_>>()?;
    ensure!(!texts.is_empty(), "{}: there is no text in it; --text-column names the column", path.display());
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: &str, columns: &Columns) -> Result<Vec<Row>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        super::read(&path, columns)
    }

    #[test]
    fn columns_are_found_by_the_usual_names_or_as_told() {
        let usual = read("x.csv", "id,Text,LABEL\n1,x,0\n", &Columns::default()).unwrap();
        assert_eq!((usual[0].text.as_str(), usual[0].label.as_str(), usual[0].line), ("x", "0", 2));
        let told = Columns { text: Some("comment".to_owned()), label: Some("stars".to_owned()), ..Columns::default() };
        let told = read("x.csv", "comment,stars,text\nx,5,y\n", &told).unwrap();
        assert_eq!((told[0].text.as_str(), told[0].label.as_str()), ("x", "5"));
    }

    #[test]
    fn json_lines_are_read_as_a_table_is_and_their_labels_may_be_numbers() {
        let table = read("x.csv", "label,review\n1,a\n", &Columns::default()).unwrap();
        let json = read("x.jsonl", "\n{\"label\":1,\"review\":\"a\"}\n", &Columns::default()).unwrap();
        assert_eq!(table, json);
    }

    #[test]
    fn what_is_missing_is_named_with_the_file_beside_what_is_there() {
        let error = |name: &str, content: &str| format!("{:#}", read(name, content, &Columns::default()).unwrap_err());
        let column = error("x.csv", "label,comment\n1,x\n");
        assert!(column.contains("x.csv: no column text or review; there are: label, comment"), "{column}");
        assert!(error("x.csv", "text,comment\n1,x\n").ends_with("--label-column names another"));
        let field = error("x.jsonl", "{\"text\":\"a\",\"label\":\"b\"}\n{\"text\":\"a\"}\n");
        assert!(field.contains("x.jsonl: line 2: no column label"), "{field}");
    }
}
