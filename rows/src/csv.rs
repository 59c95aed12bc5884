//! CSV as RFC 4180 has it, and as people write it: records with the line on which each begins.
//!
//! As strict as Python's `csv` with `strict=True`, and stricter where a person would see at once
//! that something is broken: a quote that is never closed, words after a quote that closes, a
//! carriage return amid a row, a NUL. The `csv` crate takes all of these without a word.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use anyhow::Result;

use crate::location::Location;
use crate::{MARK, MOST_BYTES};

/// The longest text of several lines, as in Python's `csv`: a stray quote swallows no more.
const MOST_BYTES_OF_LINES: usize = 131_072;

/// A row as it stands in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub location: Location,
    pub cells: Vec<String>,
}

/// The records of a file. Blank lines are none.
pub(crate) struct Csv {
    input: BufReader<Box<dyn Read + Send>>,
    parser: Parser,
}

impl Csv {
    pub(crate) fn new(input: BufReader<Box<dyn Read + Send>>, file: Arc<str>) -> Self {
        Self { input, parser: Parser::new(file) }
    }

    /// The next record, if there is one.
    pub(crate) fn read(&mut self) -> Result<Option<Record>> {
        loop {
            let bytes = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.parser.location(self.parser.line).unreadable(&error)),
                Ok([]) => return self.parser.end(),
                Ok(bytes) => bytes,
            };
            let mut read = 0;
            let mut record = None;
            for byte in bytes {
                read += 1;
                record = self.parser.push(*byte)?;
                if record.is_some() {
                    break;
                }
            }
            self.input.consume(read);
            if record.is_some() {
                return Ok(record);
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    CellBegins,
    Plain,
    Quoted,
    /// After a quote within quotes: the end of the cell, or the first of two that stand for one.
    QuoteInQuotes,
}

struct Parser {
    file: Arc<str>,
    state: State,
    /// The line of the next byte.
    line: u64,
    /// The line on which the record, its last cell, and that cell's quote begin.
    record_line: u64,
    cell_line: u64,
    quote_line: u64,
    cells: Vec<String>,
    cell: Vec<u8>,
    /// Bytes of the record so far.
    bytes: usize,
    /// Whether the last byte was a carriage return, with which a line feed is one end of a line.
    after_return: bool,
    ends: Ends,
}

/// How the rows end that have been read. Rows of an old Mac end with a carriage return; among rows
/// that end with a line feed, one is a text cut in two.
#[derive(Default)]
struct Ends {
    /// Whether the last row ended with a carriage return, and no line feed has come since.
    is_open: bool,
    with_feed: bool,
    /// The first line that ends with a carriage return alone.
    with_return: Option<u64>,
}

impl Parser {
    fn new(file: Arc<str>) -> Self {
        Self {
            file,
            state: State::CellBegins,
            line: 1,
            record_line: 1,
            cell_line: 1,
            quote_line: 1,
            cells: Vec::new(),
            cell: Vec::new(),
            bytes: 0,
            after_return: false,
            ends: Ends::default(),
        }
    }

    /// Takes a byte in, and gives the record that ends with it.
    fn push(&mut self, byte: u8) -> Result<Option<Record>> {
        let is_end_of_line = byte == b'\r' || byte == b'\n';
        self.check_end(byte)?;
        if byte == b'\r' || byte == b'\n' && !self.after_return {
            self.line += 1;
        }
        self.after_return = byte == b'\r';
        self.bytes += 1;
        if self.bytes > MOST_BYTES {
            return Err(self.too_long());
        }
        match (self.state, byte) {
            (_, 0) => return Err(self.location(self.line).nul()),
            (State::CellBegins, b'"') => {
                self.quote_line = self.line;
                self.state = State::Quoted;
            }
            (State::Plain, b'"') if self.cell == MARK => {
                self.cell.clear();
                self.quote_line = self.line;
                self.state = State::Quoted;
            }
            (State::Quoted, b'"') => self.state = State::QuoteInQuotes,
            (State::QuoteInQuotes, b'"') => {
                self.cell.push(byte);
                self.state = State::Quoted;
            }
            (State::Quoted, _) => {
                self.cell.push(byte);
                if self.cell.len() > MOST_BYTES_OF_LINES && self.quote_line < self.line {
                    return Err(self.swallowing());
                }
            }
            (_, b',') => self.end_cell()?,
            _ if is_end_of_line => return self.end_record(),
            (State::QuoteInQuotes, _) if self.quote_line < self.line => {
                return Err(self.location(self.quote_line).error(format_args!(
                    "a quote opens here, and the next one, on line {}, does not end a field: is this one never closed?",
                    self.line
                )));
            }
            (State::QuoteInQuotes, _) => {
                return Err(self.location(self.line).error(
                    "words after the quote that closes a field; within quotes, a quote is written twice: \"\"",
                ));
            }
            _ => {
                self.cell.push(byte);
                self.state = State::Plain;
            }
        }
        Ok(None)
    }

    /// Refuses a row that ends otherwise than the rows before it.
    fn check_end(&mut self, byte: u8) -> Result<()> {
        match byte {
            b'\n' if self.state != State::Quoted => (self.ends.with_feed, self.ends.is_open) = (true, false),
            b'\r' => {}
            _ if std::mem::take(&mut self.ends.is_open) => _ = self.ends.with_return.get_or_insert(self.line - 1),
            _ => {}
        }
        match self.ends.with_return {
            Some(line) if self.ends.with_feed => Err(self.location(line).error(
                "ends with a carriage return, and other lines with a line feed: is a text cut in two there? put it in quotes",
            )),
            _ => Ok(()),
        }
    }

    /// The last record, where no end of line follows it.
    fn end(&mut self) -> Result<Option<Record>> {
        if self.state == State::Quoted {
            return Err(self.location(self.quote_line).error("a quote opens here and is never closed"));
        }
        self.end_record()
    }

    fn end_cell(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.cell);
        let bytes = bytes.strip_prefix(MARK).map(<[u8]>::to_vec).unwrap_or(bytes);
        let cell = String::from_utf8(bytes).map_err(|error| {
            let before = error.utf8_error().valid_up_to();
            self.location(self.cell_line).not_utf8(&error.as_bytes()[..before])
        })?;
        if self.state == State::Plain && is_quoted_behind_a_space(&cell) {
            return Err(self
                .location(self.cell_line)
                .error("a space before a quote, which so is a part of the text: quotes stand right after the comma"));
        }
        self.cells.push(cell);
        self.cell_line = self.line;
        self.state = State::CellBegins;
        Ok(())
    }

    fn end_record(&mut self) -> Result<Option<Record>> {
        self.ends.is_open = self.after_return;
        let is_white = self.cell.strip_prefix(MARK).unwrap_or(&self.cell).trim_ascii().is_empty();
        let is_blank = self.cells.is_empty() && self.state != State::QuoteInQuotes && is_white;
        let location = self.location(self.record_line);
        let record = if is_blank {
            self.cell.clear();
            self.state = State::CellBegins;
            None
        } else {
            self.end_cell()?;
            Some(Record { location, cells: std::mem::take(&mut self.cells) })
        };
        (self.record_line, self.cell_line, self.bytes) = (self.line, self.line, 0);
        Ok(record)
    }

    fn too_long(&self) -> anyhow::Error {
        if self.state == State::Quoted {
            return self.location(self.quote_line).error("the quote that opens here is not closed within 16 MiB");
        }
        self.location(self.record_line).error("longer than 16 MiB")
    }

    fn swallowing(&self) -> anyhow::Error {
        self.location(self.quote_line).error(format_args!(
            "the quote that opens here is still open on line {}, after 128 KiB: is it never closed?",
            self.line
        ))
    }

    fn location(&self, line: u64) -> Location {
        Location { file: self.file.clone(), line }
    }
}

fn is_quoted_behind_a_space(cell: &str) -> bool {
    let word = cell.trim();
    cell.starts_with([' ', '\t']) && word.len() > 1 && word.starts_with('"') && word.ends_with('"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives one byte at a time.
    struct Slow(io::Cursor<Vec<u8>>);

    impl Read for Slow {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let most = out.len().min(1);
            self.0.read(&mut out[..most])
        }
    }

    fn records(text: &[u8]) -> Result<Vec<(u64, Vec<String>)>> {
        let input: Box<dyn Read + Send> = Box::new(Slow(io::Cursor::new(text.to_vec())));
        let mut csv = Csv::new(BufReader::new(input), "x.csv".into());
        let mut records = Vec::new();
        while let Some(record) = csv.read()? {
            records.push((record.location.line, record.cells));
        }
        Ok(records)
    }

    fn by_the_csv_crate(text: &str) -> Vec<Vec<String>> {
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
        let cells = |record: ::csv::StringRecord| record.iter().map(str::to_owned).collect();
        reader.records().map(|record| cells(record.unwrap())).collect()
    }

    fn error(text: &[u8]) -> String {
        records(text).unwrap_err().to_string()
    }

    #[test]
    fn a_record_begins_where_its_first_cell_does_however_lines_end() {
        let lines =
            |text: &str| records(text.as_bytes()).unwrap().into_iter().map(|(line, _)| line).collect::<Vec<_>>();
        assert_eq!(lines("a,b\n\"1\n2\",3\n\n4,5"), [1, 2, 5]);
        assert_eq!(lines("a,b\r\n\"1\r\n2\",3\r\n\r\n4,5\r\n"), [1, 2, 5]);
        assert_eq!(lines("a\r\"1\r2\"\r\r4\r"), [1, 2, 5]);
    }

    #[test]
    fn a_quote_that_is_never_closed_is_an_error_where_it_opens() {
        assert_eq!(error(b"a,b\n1,\"x\n2,y\n"), "x.csv: line 2: a quote opens here and is never closed");
        let closed_by_another = error(b"a,b\n1,\"x\n2,y\n3,\"z\"\n");
        assert!(closed_by_another.starts_with("x.csv: line 2: a quote opens here, and the next one, on line 4"));
    }

    #[test]
    fn words_after_a_quote_that_closes_are_an_error_on_their_line() {
        let refused = error("a,b\n1,\"好\"吃\n".as_bytes());
        assert!(refused.starts_with("x.csv: line 2: words after the quote that closes a field"), "{refused}");
        assert!(error(b"\"a\" ,b\n").starts_with("x.csv: line 1: words after"));
        assert!(error(b"a, \"b\"\n").starts_with("x.csv: line 1: a space before a quote"));
        assert_eq!(records(b"a,12\" pizza\n").unwrap()[0].1, ["a", "12\" pizza"]);
    }

    #[test]
    fn a_carriage_return_amid_rows_that_end_with_a_line_feed_is_an_error() {
        for text in ["a\nb\rc\nd\n", "a\rb\nc\n", "a\r\nb\rc\r\n"] {
            let refused = error(text.as_bytes());
            assert!(refused.contains("ends with a carriage return"), "{text:?}: {refused}");
        }
        assert_eq!(records(b"a\r\r\nb\r\r\n").unwrap().len(), 2, "as Python writes on Windows");
        assert_eq!(records(b"a\n\"b\rc\"\n").unwrap()[1].1, ["b\rc"]);
    }

    #[test]
    fn a_byte_order_mark_within_is_no_part_of_a_cell() {
        let table = "a,b\n\u{feff}1,\u{feff}\"2\"\n\u{feff}\n";
        assert_eq!(records(table.as_bytes()).unwrap()[1].1, ["1", "2"]);
    }

    #[test]
    fn a_nul_is_an_error() {
        assert!(error(b"a,b\n1,x\0\n").starts_with("x.csv: line 2: a NUL"));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_found_on_their_own_line() {
        let error = error(b"a,b\n1,\"x\ny\xb2\"\n");
        assert!(error.starts_with("x.csv: line 3: not UTF-8") && error.contains("--encoding gb18030"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_csv_crate_reads(text in "[ab,\"\n\r好]{0,40}") {
            if let Ok(records) = records(text.as_bytes()) {
                let cells: Vec<_> = records.into_iter().map(|(_, cells)| cells).collect();
                prop_assert_eq!(cells, by_the_csv_crate(&text));
            } else {
                prop_assert!(text.contains(['"', '\r']));
            }
        }

        #[test]
        fn no_bytes_end_the_program(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = records(&bytes);
        }

        #[test]
        fn an_open_quote_is_named_wherever_it_stands(
            before in proptest::collection::vec("[a-z]{1,3}", 0..5),
            after in proptest::collection::vec("[a-z\"]{0,3}[a-z]", 0..5),
        ) {
            let row = |text: &String| format!("1,{text}\n");
            let text = format!(
                "{}1,\"open\n{}",
                before.iter().map(row).collect::<String>(),
                after.iter().map(row).collect::<String>(),
            );
            let message = error(text.as_bytes());
            let expected = format!("x.csv: line {}: a quote opens here", before.len() + 1);
            prop_assert!(message.starts_with(&expected), "{} for {}", message, text);
        }
    }
}
