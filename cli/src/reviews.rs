//! Reviews from files, as records to publish. CSV rows and plain lines become JSON objects;
//! JSON lines go out byte for byte, once they are known to be JSON objects.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rows::spreadsheet::{ADVICE, is_shortened};
use rows::{Column, Format, Input, Line, Location, Options, Row};
use serde_json::{Map, Value};

use service::broker::Record;

/// The records of a file, one after the other.
pub type Records = Box<dyn Iterator<Item = Result<Record>> + Send>;

/// Reads the first `count` records of a file before any of them is published, so that a broken file
/// publishes nothing. What can be read only once, such as a pipe, is left for later.
///
/// # Errors
/// A file that is broken.
pub fn check(path: &Path, text_column: Option<&str>, options: Options, count: usize) -> Result<()> {
    if !path.is_file() {
        return Ok(());
    }
    let mut records = open(path, text_column, options)?.take(count);
    records.try_for_each(|record| record.map(|_| ())).context("nothing was published")
}

/// Opens a file, or standard input for `-`. A review without an id of its own gets `stem-1`,
/// `stem-2` and so on, where the stem is the file's name: published again, it is the same review.
pub fn open(path: &Path, text_column: Option<&str>, options: Options) -> Result<Records> {
    let is_standard_input = path.as_os_str() == "-";
    let stem = if is_standard_input {
        // Two calls publish different reviews.
        chrono::Utc::now().format("stdin-%Y%m%dT%H%M%S").to_string()
    } else {
        path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    };
    records(Input::open(path, options, is_standard_input.then_some(Format::Lines))?, stem, text_column)
}

fn records(input: Input, stem: String, text_column: Option<&str>) -> Result<Records> {
    let format = input.format();
    if format == Format::Csv {
        let (rows, text) = (input.rows()?, Column::text(text_column));
        rows.require(&text)?;
        return Ok(Box::new(
            rows.zip(1..).map(move |(row, number)| of_row(row?, &text, || format!("{stem}-{number}"))),
        ));
    }
    let filled = input.lines()?.filter(|line| line.as_ref().map_or(true, |line| !line.is_blank()));
    let records = filled.zip(1..).map(move |(line, number)| of_line(line?, format, || format!("{stem}-{number}")));
    Ok(Box::new(records))
}

/// All columns become fields of the message. An empty cell is no value, except that a review's text
/// may not be left out.
fn of_row(mut row: Row, text: &Column, generated_id: impl FnOnce() -> String) -> Result<Record> {
    let text = row.take_required(text)?;
    let id = row.take(&Column::named("review_id"))?.filter(|id| !id.is_empty()).unwrap_or_else(generated_id);
    refuse_shortened(&id, &row.location)?;
    row.fields.retain(|_, cell| cell.as_str() != Some(""));
    Ok(message(id, &text, row.fields))
}

fn refuse_shortened(id: &str, location: &Location) -> Result<()> {
    ensure!(!is_shortened(id), "{location}: the review id {id:?}: {ADVICE}");
    Ok(())
}

/// A JSON line is a message, to be published as it is; a plain line is one where it begins with
/// `{`, else a text.
fn of_line(line: Line, format: Format, generated_id: impl FnOnce() -> String) -> Result<Record> {
    if format == Format::JsonLines || line.bytes.trim_ascii_start().starts_with(b"{") {
        let fields = Row::of_json(&line)?.fields;
        let is_rounded = fields.get("review_id").is_some_and(Value::is_f64);
        ensure!(!is_rounded, "{}: a review id that is no whole number of 64 bits stands in quotes", line.location);
        let id = id_in(&fields).unwrap_or_else(generated_id);
        refuse_shortened(&id, &line.location)?;
        return Ok(Record { key: Some(id.into_bytes()), payload: Some(line.bytes), headers: Vec::new() });
    }
    Ok(message(generated_id(), line.text()?.trim(), Map::new()))
}

/// A record as the consumer reads it. The id is the key too, so that all versions of a review share
/// a partition.
pub fn message(id: String, text: &str, others: Map<String, Value>) -> Record {
    let mut fields = Map::from_iter([("review_id".to_owned(), id.clone().into()), ("text".to_owned(), text.into())]);
    for (name, value) in others {
        fields.entry(name).or_insert(value);
    }
    let payload = serde_json::to_vec(&fields).expect("strings that cannot be written as JSON are a bug");
    Record { key: Some(id.into_bytes()), payload: Some(payload), headers: Vec::new() }
}

/// A message's own id. What a message is worth is for the consumer to say: here one of another type
/// only has no id.
fn id_in(message: &Map<String, Value>) -> Option<String> {
    match message.get("review_id")? {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
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

    fn all(content: &'static str, format: Format) -> Vec<Record> {
        let input = Input::new(content.as_bytes(), "march", format, None).unwrap();
        records(input, "march".into(), None).unwrap().map(Result::unwrap).collect()
    }

    fn from_csv(csv: &'static str) -> Vec<(String, Value)> {
        all(csv, Format::Csv).iter().map(published).collect()
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
        let open = |told| {
            records(Input::new(&b"label,comment\n"[..], "march.csv", Format::Csv, None).unwrap(), "x".into(), told)
        };
        let error = format!("{:#}", open(None).map(|_| ()).unwrap_err());
        assert_eq!(
            error,
            "march.csv: no column text or review; there are: label, comment; --text-column names another"
        );
        assert!(open(Some("comment")).is_ok());
    }

    #[test]
    fn a_row_that_a_comma_has_cut_is_not_published() {
        let input = Input::new(&b"text\na\nb,c\n"[..], "march.csv", Format::Csv, None).unwrap();
        let mut records = records(input, "x".into(), None).unwrap();
        assert!(records.next().unwrap().is_ok());
        let error = records.next().unwrap().map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("march.csv: line 3: 2 fields"), "{error}");
    }

    #[test]
    fn json_lines_go_out_byte_for_byte_with_their_id_as_key() {
        let odd = "{ \"review_id\" :\"r-1\",\"text\":\"\\u597d\"  }\r\n{\"text\":7}\n\n\u{feff}{\"text\":\"x\"}\n";
        let records: Vec<Record> = all(odd, Format::JsonLines);
        assert_eq!(records[0].payload.as_deref(), Some("{ \"review_id\" :\"r-1\",\"text\":\"\\u597d\"  }".as_bytes()));
        assert_eq!(records[0].key.as_deref(), Some("r-1".as_bytes()));
        assert_eq!(records[1].payload.as_deref(), Some("{\"text\":7}".as_bytes()));
        assert_eq!(records[2].key.as_deref(), Some("march-3".as_bytes()));
        assert_eq!(records[2].payload.as_deref(), Some("{\"text\":\"x\"}".as_bytes()));
        assert_eq!(records.len(), 3);
    }

    #[test]
    fn a_line_that_is_no_json_object_is_not_published() {
        for (broken, expected) in [
            ("{\"text\":\"x\"}\nnot json\n", "march: line 2: not JSON"),
            ("{\"text\":\"x\",\"text\":\"y\"}\n", "march: line 1: not JSON: the field \"text\" stands twice"),
            ("[{\"text\":\"x\"}]\n", "march: line 1: not a JSON object, but an array"),
        ] {
            let input = Input::new(broken.as_bytes(), "march", Format::JsonLines, None).unwrap();
            let last = records(input, "march".into(), None).unwrap().last().unwrap();
            let error = last.map(|_| ()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn an_id_that_a_spreadsheet_has_shortened_is_not_published() {
        let input = Input::new(&b"review_id,text\n1.23457E+15,a\n"[..], "march", Format::Csv, None).unwrap();
        let error = records(input, "x".into(), None).unwrap().next().unwrap().map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("march: line 2: the review id \"1.23457E+15\": a spreadsheet has shortened it"));
    }

    #[test]
    fn plain_lines_become_messages() {
        let records = all("很好\n{\"text\":\"x\"}\n", Format::Lines);
        assert_eq!(published(&records[0]).1, serde_json::json!({"review_id": "march-1", "text": "很好"}));
        assert_eq!(records[1].payload.as_deref(), Some("{\"text\":\"x\"}".as_bytes()));
    }
}
