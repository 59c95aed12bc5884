//! Files as people have them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Cursor, Write as _};
use std::path::Path;

use proptest::prelude::*;
use rows::{Column, Format, Input, Options, Row};

fn rows(bytes: &[u8], format: Format, encoding: Option<&str>) -> anyhow::Result<Vec<Row>> {
    let encoding = encoding.map(|name| name.parse().unwrap());
    Input::new(Cursor::new(bytes.to_vec()), "x", format, encoding)?.rows()?.collect()
}

fn texts(bytes: &[u8], format: Format, encoding: Option<&str>) -> anyhow::Result<Vec<String>> {
    let (encoding, text) = (encoding.map(|name| name.parse().unwrap()), Column::text(None));
    let rows = Input::new(Cursor::new(bytes.to_vec()), "x", format, encoding)?.rows()?;
    rows.map(|row| row?.take_required(&text)).collect()
}

fn error(bytes: &[u8], format: Format) -> String {
    format!("{:#}", texts(bytes, format, None).unwrap_err())
}

#[test]
fn a_table_from_excel_is_read_in_each_encoding_that_excel_writes() {
    let table = "LABEL, Text \r\n好评,\"很快,\n好吃\"\r\n";
    let expected = ["很快,\n好吃"];
    let utf_16: Vec<u8> = table.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (gb18030, ..) = encoding_rs::GB18030.encode(table);
    let with_mark = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
    for (bytes, encoding) in [
        (table.as_bytes().to_vec(), None),
        (with_mark(b"\xef\xbb\xbf", table.as_bytes()), None),
        (with_mark(b"\xff\xfe", &utf_16), None),
        (utf_16.clone(), Some("utf-16le")),
        (gb18030.to_vec(), Some("gb18030")),
    ] {
        assert_eq!(texts(&bytes, Format::Csv, encoding).unwrap(), expected, "{encoding:?}");
    }
    let untold = error(&gb18030, Format::Csv);
    assert!(untold.starts_with("x: line 2: not UTF-8") && untold.contains("--encoding gb18030"), "{untold}");
    assert!(error(&utf_16, Format::Csv).contains("--encoding utf-16le"));
}

#[test]
fn a_header_that_cannot_be_used_is_refused_with_what_is_there() {
    assert_eq!(error(b"", Format::Csv), "x: empty: a header row was expected");
    assert!(error(b"text,Label,TEXT\na,b,c\n", Format::Csv).contains("line 1: two columns are called \"TEXT\""));
    let table = Input::new(&b"label;text\n"[..], "x", Format::Csv, None).unwrap().rows().unwrap();
    let missing = format!("{:#}", table.require(&Column::text(None)).unwrap_err());
    assert_eq!(
        missing,
        "x: no column text or review; there are: label;text; --text-column names another; are the columns separated by commas?"
    );
    assert!(table.require(&Column::text(Some("LABEL;text "))).is_ok());
    assert_eq!(
        rows(b"a,,\n1,,\n", Format::Csv, None).unwrap()[0].fields.len(),
        1,
        "columns without a name are left out"
    );
}

#[test]
fn a_row_with_too_many_fields_is_an_error_on_its_own_line_after_texts_of_several_lines() {
    let ragged = error(b"text,label\n\"a\nb\",1\n\nc,d,2\n", Format::Csv);
    assert!(ragged.starts_with("x: line 5: 3 fields where the header has 2"), "{ragged}");
}

#[test]
fn json_lines_and_plain_lines_are_rows_too() {
    let json = rows("{\"label\":1,\"text\":\"好\"}\n\n{\"text\":null}\n".as_bytes(), Format::JsonLines, None).unwrap();
    let lines: Vec<u64> = json.iter().map(|row| row.location.line).collect();
    assert_eq!(lines, [1, 3]);
    assert_eq!(json[0].clone().take(&Column::label(None)).unwrap().as_deref(), Some("1"));
    assert_eq!(texts("好\r\n\n差".as_bytes(), Format::Lines, None).unwrap(), ["好", "差"]);
    assert_eq!(texts(b"{\"text\":null}\n{\"review\":5}\n", Format::JsonLines, None).unwrap(), ["", "5"]);

    let bad: [(&[u8], &str); 5] = [
        (b"{}\n[1]\n", "x: line 1: no column text or review"),
        (b"{\"text\":\"a\"}\n[1]\n", "x: line 2: not a JSON object"),
        (b"{\"text\":\"a\"}\n{\n", "x: line 2: not JSON"),
        (b"{\"text\":[]}\n", "x: line 1: the field `text` is no text"),
        (b"{\"text\":\"\xff\"}\n", "x: line 1: not UTF-8"),
    ];
    for (bytes, message) in bad {
        let error = texts(bytes, Format::JsonLines, None).map(|texts| texts.join("|"));
        assert!(format!("{:#}", error.unwrap_err()).starts_with(message), "{message}");
    }
}

#[test]
fn the_extension_tells_the_format_unless_a_person_does() {
    let directory = tempfile::tempdir().unwrap();
    let open = |name: &str, content: &str, format: Option<Format>, otherwise: Option<Format>| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        Input::open(&path, Options { format, encoding: None }, otherwise).map(|input| input.format())
    };
    assert_eq!(open("a.CSV", "", None, None).unwrap(), Format::Csv);
    assert_eq!(open("a.ndjson", "", None, None).unwrap(), Format::JsonLines);
    assert_eq!(open("a.csv", "", Some(Format::Lines), None).unwrap(), Format::Lines);
    assert_eq!(open("a", "label,text\n", None, Some(Format::Csv)).unwrap(), Format::Csv);
    assert_eq!(open("a", " {\"text\":1}\n", None, Some(Format::Csv)).unwrap(), Format::JsonLines);
    let untold = open("a.bin", "", None, None).unwrap_err().to_string();
    assert!(untold.contains("a.bin: expected a .csv") && untold.contains("--format"), "{untold}");
    let missing = Input::open(Path::new("nowhere.csv"), Options::default(), None).map(|_| ()).unwrap_err();
    assert!(missing.to_string().starts_with("nowhere.csv: cannot be read"));
}

/// A quote on line 3 that is never closed: the file that took three rows into one text.
#[test]
fn the_file_with_an_open_quote_is_refused_with_the_line_of_the_quote() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases/open_quote.csv");
    let Ok(bytes) = std::fs::read(&file) else {
        // Past the test runner, which hides what a passing test prints.
        return writeln!(std::io::stderr(), "\nNOT RUN: the file with an open quote: no {}", file.display()).unwrap();
    };
    assert!(error(&bytes, Format::Csv).starts_with("x: line 3: a quote opens here"));
}

#[test]
fn a_line_as_long_as_a_file_is_an_error_and_not_memory() {
    let endless = || std::io::repeat(b'a');
    let line = Input::new(endless(), "x", Format::Lines, None).unwrap().lines().unwrap().next().unwrap();
    assert_eq!(line.unwrap_err().to_string(), "x: line 1: longer than 16 MiB");
    let table = std::io::Read::chain(&b"text\n\"b"[..], endless());
    let row = Input::new(table, "x", Format::Csv, None).unwrap().rows().unwrap().next().unwrap();
    assert_eq!(row.unwrap_err().to_string(), "x: line 2: the quote that opens here is not closed within 16 MiB");
}

proptest! {
    #[test]
    fn what_is_written_is_read_in_any_encoding(
        cells in proptest::collection::vec(("[\\PC\n\"]{0,20}", "[a-z,好\r\n\"]{1,5}"), 0..10),
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["text", "label"]).unwrap();
        cells.iter().for_each(|(text, label)| writer.write_record([text, label]).unwrap());
        let table = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let utf_16: Vec<u8> = "\u{feff}".encode_utf16().chain(table.encode_utf16()).flat_map(u16::to_be_bytes).collect();
        let (gb18030, _, is_lossy) = encoding_rs::GB18030.encode(&table);
        for (bytes, encoding) in
            [(table.as_bytes(), None), (&utf_16[..], None), (&gb18030[..], Some("gb18030"))]
        {
            if encoding.is_some() && (is_lossy || encoding_rs::GB18030.decode(bytes).0 != table) {
                continue;
            }
            let read = rows(bytes, Format::Csv, encoding).unwrap();
            let read: Vec<(&str, &str)> =
                read.iter().map(|row| (row.fields["text"].as_str().unwrap(), row.fields["label"].as_str().unwrap())).collect();
            prop_assert_eq!(&read, &cells.iter().map(|(text, label)| (text.as_str(), label.as_str())).collect::<Vec<_>>());
        }
    }
}
