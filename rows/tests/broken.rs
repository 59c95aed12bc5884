//! Files that are broken: each is refused, and the error names its line.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Cursor, Write as _};
use std::process::{Command, Stdio};

use rows::{Column, Format, Input, Options, Row};

fn rows(bytes: &[u8], format: Format) -> anyhow::Result<Vec<Row>> {
    Input::new(Cursor::new(bytes.to_vec()), "x", format, None)?.rows()?.collect()
}

/// As the commands read: the columns are asked for before the rows.
fn texts(bytes: &[u8], format: Format) -> anyhow::Result<Vec<String>> {
    let rows = Input::new(Cursor::new(bytes.to_vec()), "x", format, None)?.rows()?;
    rows.require(&Column::text(None))?;
    rows.map(|row| row?.take_required(&Column::text(None))).collect()
}

#[test]
fn a_broken_table_is_refused_with_its_line() {
    let utf_16: Vec<u8> = "label,text\n1,好\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf_16_of_a_big_end: Vec<u8> = "label,text\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let (gbk, ..) = encoding_rs::GBK.encode("label,text\n1,好吃\n");
    let long = format!("label,text\n1,\"{}\n", "很好吃\n".repeat(20_000));
    let broken: [(&[u8], &str); 36] = [
        (b"label,text\n1,a\n0,\"b\n1,c\n", "x: line 3: a quote opens here and is never closed"),
        (b"label,text\n0,\"b\n1,c\n0,\"d\"\n", "x: line 2: a quote opens here, and the next one, on line 4"),
        (b"label,text\n1,\"a\"b\n", "x: line 2: words after the quote"),
        (b"label,text\n1,\"a\" \n", "x: line 2: words after the quote"),
        (b"label,text\n1,\"he said \\\"hi\\\"\"\n", "x: line 2: words after the quote"),
        (b"label,text\n1, \"a\"\n", "x: line 2: a space before a quote"),
        (b"label,text\n1,a\n0,\"b\n1,c\n0,d\"\n1,e\n", "x: line 3: a quoted text begins here and ends on line 5"),
        (long.as_bytes(), "x: line 2: the quote that opens here is still open on line"),
        (b"label,text\n1,a,b\n", "x: line 2: 3 fields where the header has 2"),
        (b"label,text\n1\n", "x: line 2: 1 fields where the header has 2"),
        (b"label,text,\n1,a,b\n", "x: line 2: a field under a column without a name"),
        (b"label,text\n1,a\0b\n", "x: line 2: a NUL character"),
        (b"label,text\n1,a\xff\n", "x: line 2: not UTF-8"),
        (&gbk, "x: line 2: not UTF-8; give the file's encoding, such as --encoding gb18030"),
        (&utf_16, "x: line 1: NUL characters; is the file UTF-16? then give --encoding utf-16le"),
        (&utf_16_of_a_big_end, "x: line 1: NUL characters; is the file UTF-16? then give --encoding utf-16be"),
        (b"\xff\xfe\0\0l\0\0\0", "x: UTF-32"),
        (b"text,label,Text\na,1,b\n", "x: line 1: two columns are called"),
        (b"", "x: empty: a header row was expected"),
        (b"\n\n", "x: empty: a header row was expected"),
        (b",\n1,a\n", "x: no column text or review"),
        (
            b"1,hao chi\n0,nan chi\n",
            "x: no column text or review; there are: 1, hao chi; --text-column names another; is the first row data?",
        ),
        (b"label,text\n1,a\nlabel,text\n0,b\n", "x: line 3: the header stands here again"),
        (b"label,text\n1,a\n\xef\xbb\xbflabel,text\n0,b\n", "x: line 3: the header stands here again"),
        (b"label,text\n1,a\rb\n0,c\n", "x: line 2: ends with a carriage return"),
        (b"label;text\n1;a\n", "x: no column text or review; there are: label;text"),
        (b"label\ttext\n1\ta\n", "x: no column text or review; there are: label\ttext"),
        (b"sep=;\nlabel;text\n1;a\n", "x: line 1: the columns are separated by \";\""),
        (b"sep=,\nlabel,text\n1,a\n", "x: line 1: `sep=` is a spreadsheet's own"),
        (b"PK\x03\x04\x14\0\x06\0", "x: an Excel workbook (.xlsx) or another zip archive: save it as a CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "x: an old Excel workbook (.xls): save it as a CSV"),
        (b"\x1f\x8b\x08\0", "x: compressed with gzip: unpack it"),
        (b"PAR1\x15\x04", "x: a Parquet file: export it"),
        (b"%PDF-1.7\n", "x: a PDF"),
        (b"<HTML><body>", "x: a page of HTML"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
            "x: a pointer of Git LFS, not the file itself: run `git lfs pull`",
        ),
    ];
    for (bytes, expected) in broken {
        let refused = texts(bytes, Format::Csv).map(|texts| texts.join("|"));
        let refused = format!("{:#}", refused.expect_err(expected));
        assert!(refused.starts_with(expected), "{refused}, not {expected}");
    }
}

#[test]
fn broken_json_lines_are_refused_with_their_line() {
    let broken: [(&[u8], &str); 10] = [
        (b"{\"text\":\"a\"}\n{\"text\":\"b\"\n", "x: line 2: not JSON"),
        (
            b"{\"text\":\"a\"}\n{\"text\":\"b\",\"text\":\"c\"}\n",
            "x: line 2: not JSON: the field \"text\" stands twice",
        ),
        (b"{\"text\":\"a\",\"of\":{\"x\":1,\"x\":2}}\n", "x: line 1: not JSON: the field \"x\" stands twice"),
        (
            b"[{\"text\":\"a\"},{\"text\":\"b\"}]\n",
            "x: line 1: not a JSON object, but an array: an object a line is expected",
        ),
        (b"[\n{\"text\":\"a\"}\n]\n", "x: line 1: not a JSON object, but an array"),
        (
            b"{\n\"text\":\"a\"\n}\n",
            "x: line 1: not JSON: EOF while parsing an object at line 1 column 1; an object stands on one line",
        ),
        (b"{\"text\":[\"a\"]}\n", "x: line 1: the field `text` is no text"),
        (b"{\"text\":true}\n", "x: line 1: the field `text` is no text"),
        (b"{\"text\":\"a\"}\r{\"text\":\"b\"}\n", "x: line 1: not JSON: trailing characters"),
        (b"{\"text\":\"a\0\"}\n", "x: line 1: not JSON: control character"),
    ];
    for (bytes, expected) in broken {
        let refused = texts(bytes, Format::JsonLines).map(|texts| texts.join("|"));
        let refused = format!("{:#}", refused.expect_err(expected));
        assert!(refused.starts_with(expected), "{refused}, not {expected}");
    }
    let id = rows(b"{\"review_id\":12345678901234567890123}\n", Format::JsonLines).unwrap().remove(0);
    let refused = id.clone().take(&Column::named("review_id")).unwrap_err().to_string();
    assert!(refused.contains("too long to be kept as it is: put it in quotes"), "{refused}");
}

#[test]
fn a_byte_order_mark_never_becomes_content() {
    assert_eq!(texts("\u{feff}text\n\u{feff}a\n".as_bytes(), Format::Csv).unwrap(), ["a"]);
    assert_eq!(texts("\u{feff}label,text\n1,\u{feff}\"a\"\n".as_bytes(), Format::Csv).unwrap(), ["a"]);
    assert_eq!(texts("\u{feff}a\n\u{feff}b\n".as_bytes(), Format::Lines).unwrap(), ["a", "b"]);
    let json = "\u{feff}{\"text\":\"a\"}\n\u{feff}{\"text\":\"b\"}\n";
    assert_eq!(texts(json.as_bytes(), Format::JsonLines).unwrap(), ["a", "b"]);
}

#[test]
fn what_nobody_called_lines_of_text_is_not_read_as_such_where_it_is_another_thing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    let lines = |content: &str, format: Option<Format>| -> anyhow::Result<usize> {
        std::fs::write(&path, content)?;
        Ok(Input::open(&path, Options { format, encoding: None }, Some(Format::Lines))?.lines()?.count())
    };
    for content in
        ["label,review\n1,a\n", "\u{feff}\"text\";\"label\"\n", "[{\"text\":\"a\"}]", "[\n{}\n]\n", "sep=,\n"]
    {
        assert!(lines(content, None).is_err(), "{content}");
        assert!(lines(content, Some(Format::Lines)).is_ok(), "{content}");
    }
    for content in ["好吃,快\n", "[微笑]好吃\n", "a text, and a review\n", "text\n", ""] {
        assert!(lines(content, None).is_ok(), "{content}");
    }
}

/// What Python's `csv` refuses, and every table whose rows differ in length, is refused here; what
/// is read here is what Python reads.
#[test]
fn the_reader_is_as_strict_as_python() {
    let program = "
import csv, io, json, sys
def read(text):
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=''), strict=True) if row]
    except csv.Error:
        return None
json.dump([read(text) for text in json.load(sys.stdin)], sys.stdout)";
    let python = Command::new("python3").args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut python) = python else {
        return writeln!(std::io::stderr(), "\nNOT RUN: the comparison with Python: there is no python3").unwrap();
    };
    let tables: Vec<String> = (0..6u32.pow(6))
        .map(|number| {
            (0..6).map(move |place| ["a", "\"", ",", "\n", "\r\n", "好"][number as usize / 6usize.pow(place) % 6])
        })
        .map(|bytes| format!("h,k\n{}", bytes.collect::<String>()))
        .collect();
    let mut input = python.stdin.take().unwrap();
    let sent = serde_json::to_vec(&tables).unwrap();
    let sending = std::thread::spawn(move || input.write_all(&sent).unwrap());
    let output = python.wait_with_output().unwrap();
    sending.join().unwrap();
    let by_python: Vec<Option<Vec<Vec<String>>>> = serde_json::from_slice(&output.stdout).unwrap();
    let (mut read, mut refused) = (0, 0);
    for (table, by_python) in tables.iter().zip(by_python) {
        let by_python = by_python.filter(|rows| rows.iter().all(|row| row.len() == 2));
        let Ok(rows) = rows(table.as_bytes(), Format::Csv) else {
            refused += 1;
            continue;
        };
        read += 1;
        let cells = |row: &Row| row.fields.values().map(|cell| cell.as_str().unwrap().to_owned()).collect::<Vec<_>>();
        let expected = by_python.unwrap_or_else(|| panic!("Python refuses {table:?}"));
        assert_eq!(rows.iter().map(cells).collect::<Vec<_>>(), expected[1..], "{table:?}");
    }
    assert!(read > 1_000 && refused > 10_000, "{read} read, {refused} refused");
}
