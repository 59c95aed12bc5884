//! Reviews from files, as records to publish. CSV rows and plain lines become JSON objects;
//! JSON lines go out byte for byte.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use service::broker::Record;

/// Columns that hold the text of a review, unless told; the first one found.
const TEXT_COLUMNS: [&str; 2] = ["text", "review"];

/// The records of a file, one after the other.
pub type Records = Box<dyn Iterator<Item = anyhow::Result<Record>> + Send>;

/// Opens a file by its extension, and standard input for `-`. A review without an id of its own gets `stem-1`, `stem-2`
/// and so on, where the stem is the file's name: published again, it is the same review.
pub fn open(path: &Path, text_column: Option<&str>) -> anyhow::Result<Records> {
    if path.as_os_str() == "-" {
        // Two calls publish different reviews.
        let stem = chrono::Utc::now().format("stdin-%Y%m%dT%H%M%S").to_string();
        return Ok(Box::new(lines(io::stdin(), stem, Lines::JsonOrText)));
    }
    let open = || {
        let file = File::open(path)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => rows(file, &stem, text_column),
            Some("jsonl" | "ndjson") => Ok(Box::new(lines(file, stem, Lines::Json)) as Records),
            Some("txt") => Ok(Box::new(lines(file, stem, Lines::JsonOrText)) as Records),
            _ => bail!("expected a .csv, .jsonl or .txt file, or - for standard input"),
        }
    };
    let name = path.display().to_string();
    let records = open().with_context(|| name.clone())?;
    Ok(Box::new(records.map(move |record| record.with_context(|| name.clone()))))
}

/// The texts of a CSV, without their ids.
pub fn texts(path: &Path) -> anyhow::Result<Vec<String>> {
    let read = || -> anyhow::Result<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(path)?;
        let columns = Columns::find(reader.headers()?, None)?;
        let rows = reader.into_records();
        rows.map(|cells| Ok(cells?.get(columns.text).unwrap_or_default().to_owned())).collect()
    };
    read().with_context(|| path.display().to_string())
}

/// The rows of a CSV with a header. All columns become fields of the message.
pub fn rows(input: impl Read + Send + 'static, stem: &str, text_column: Option<&str>) -> anyhow::Result<Records> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let header = reader.headers().context("the header cannot be read")?;
    let columns = Columns::find(header, text_column)?;
    let stem = stem.to_owned();
    Ok(Box::new(reader.into_records().enumerate().map(move |(row, cells)| {
        // As editors count: the header is line 1 where no cell holds a line break.
        let cells = cells.with_context(|| format!("row {} cannot be read", row + 2))?;
        Ok(columns.record(&cells, || format!("{stem}-{}", row + 1)))
    })))
}

struct Columns {
    names: Vec<String>,
    text: usize,
}

impl Columns {
    fn find(header: &csv::StringRecord, text_column: Option<&str>) -> anyhow::Result<Self> {
        let names: Vec<String> =
            header.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_owned()).collect();
        let candidates = text_column.as_ref().map_or(&TEXT_COLUMNS[..], std::slice::from_ref);
        let text = candidates.iter().find_map(|candidate| names.iter().position(|name| name == candidate));
        match text {
            Some(text) => Ok(Self { names, text }),
            None => bail!(
                "no column {}; there are: {}; --text-column names another",
                candidates.join(" or "),
                names.join(", ")
            ),
        }
    }

    /// An empty cell is no value, except that a review's text may not be left out.
    fn record(&self, cells: &csv::StringRecord, generated_id: impl FnOnce() -> String) -> Record {
        let mut fields: Map<String, Value> = (self.names.iter().zip(cells))
            .enumerate()
            .filter(|(column, (_, cell))| *column != self.text && !cell.is_empty())
            .map(|(_, (name, cell))| (name.clone(), cell.into()))
            .collect();
        let id = match fields.shift_remove("review_id") {
            Some(Value::String(id)) => id,
            _ => generated_id(),
        };
        message(id, cells.get(self.text).unwrap_or_default(), fields)
    }
}

/// A record as the consumer reads it. The id is the key too, so that all versions of a review share a partition.
pub fn message(id: String, text: &str, others: Map<String, Value>) -> Record {
    let mut fields = Map::from_iter([("review_id".to_owned(), id.clone().into()), ("text".to_owned(), text.into())]);
    for (name, value) in others {
        fields.entry(name).or_insert(value);
    }
    let payload = serde_json::to_vec(&fields).expect("strings that cannot be written as JSON are a bug");
    Record { key: Some(id.into_bytes()), payload: Some(payload), headers: Vec::new() }
}

/// What the lines of a file are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// Messages, to be published as they are.
    Json,
    /// Messages where a line begins with `{`, else texts.
    JsonOrText,
}

/// The lines that are not blank.
pub fn lines(input: impl Read, stem: String, kind: Lines) -> impl Iterator<Item = anyhow::Result<Record>> {
    let lines = BufReader::new(input).split(b'\n').map(|line| line.context("the next line cannot be read"));
    let filled = lines.filter(|line| line.as_ref().map_or(true, |line| !line.trim_ascii().is_empty()));
    filled.enumerate().map(move |(number, line)| {
        let mut line = line?;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let generated_id = || format!("{stem}-{}", number + 1);
        if kind == Lines::Json || line.trim_ascii_start().starts_with(b"{") {
            let id = id_in(&line).unwrap_or_else(generated_id);
            Ok(Record { key: Some(id.into_bytes()), payload: Some(line), headers: Vec::new() })
        } else {
            let text = String::from_utf8(line).with_context(|| format!("line {} is not UTF-8", number + 1))?;
            Ok(message(generated_id(), text.trim(), Map::new()))
        }
    })
}

/// A message's own id. What a message is worth is for the consumer to say: here a bad one only has no id.
fn id_in(message: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        review_id: Value,
    }
    match serde_json::from_slice::<Named>(message).ok()?.review_id {
        Value::String(id) if !id.is_empty() => Some(id),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(record: &Record) -> (String, Value) {
        let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
        (key, serde_json::from_slice(record.payload.as_deref().unwrap()).unwrap())
    }

    fn from_csv(csv: &'static str) -> Vec<(String, Value)> {
        rows(csv.as_bytes(), "march", None).unwrap().map(|record| published(&record.unwrap())).collect()
    }

    #[test]
    fn a_row_becomes_a_message_with_all_its_columns_and_a_stable_id() {
        let rows = from_csv("\u{feff}label,review,city\n1,很快，好吃,上海\n0,\"凉了,\n差评\",\n");
        assert_eq!(rows[0].0, "march-1");
        assert_eq!(
            rows[0].1,
            serde_json::json!({"review_id": "march-1", "text": "很快，好吃", "label": "1", "city": "上海"})
        );
        assert_eq!(rows[1].1, serde_json::json!({"review_id": "march-2", "text": "凉了,\n差评", "label": "0"}));
    }

    #[test]
    fn a_row_keeps_its_own_id_and_an_empty_text_is_still_published() {
        let rows = from_csv("review_id,text\nr-7,好\n,\n");
        assert_eq!(rows[0], ("r-7".into(), serde_json::json!({"review_id": "r-7", "text": "好"})));
        assert_eq!(rows[1], ("march-2".into(), serde_json::json!({"review_id": "march-2", "text": ""})));
    }

    #[test]
    fn a_csv_without_a_text_column_says_which_columns_there_are() {
        let error = rows("label,comment\n".as_bytes(), "march", None).map(|_| ()).unwrap_err().to_string();
        assert_eq!(error, "no column text or review; there are: label, comment; --text-column names another");
        assert!(rows("label,comment\n".as_bytes(), "march", Some("comment")).is_ok());
    }

    #[test]
    fn json_lines_go_out_byte_for_byte_with_their_id_as_key() {
        let odd = "{ \"review_id\" :\"r-1\",\"text\":\"\\u597d\"  }\r\nnot json\n\n{\"text\":\"x\"}\n";
        let records: Vec<Record> = lines(odd.as_bytes(), "may".into(), Lines::Json).map(Result::unwrap).collect();
        assert_eq!(records[0].payload.as_deref(), Some("{ \"review_id\" :\"r-1\",\"text\":\"\\u597d\"  }".as_bytes()));
        assert_eq!(records[0].key.as_deref(), Some("r-1".as_bytes()));
        assert_eq!(records[1].payload.as_deref(), Some("not json".as_bytes()));
        assert_eq!(records[2].key.as_deref(), Some("may-3".as_bytes()));
        assert_eq!(records.len(), 3);
    }

    #[test]
    fn plain_lines_become_messages() {
        let records: Vec<Record> = lines("很好\n{\"text\":\"x\"}\n".as_bytes(), "stdin".into(), Lines::JsonOrText)
            .map(Result::unwrap)
            .collect();
        assert_eq!(published(&records[0]).1, serde_json::json!({"review_id": "stdin-1", "text": "很好"}));
        assert_eq!(records[1].payload.as_deref(), Some("{\"text\":\"x\"}".as_bytes()));
    }
}
