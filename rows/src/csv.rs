//! CSV as RFC 4180 has it, and as people write it: records with the line on which each begins.
//!
//! The `csv` crate reads the same, except that it takes a quote that is never closed for a text as
//! long as the rest of the file, without a word.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use anyhow::Result;

use crate::MOST_BYTES;
use crate::location::Location;

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
        }
    }

    /// Takes a byte in, and gives the record that ends with it.
    fn push(&mut self, byte: u8) -> Result<Option<Record>> {
        let is_end_of_line = byte == b'\r' || byte == b'\n';
        if byte == b'\r' || byte == b'\n' && !self.after_return {
            self.line += 1;
        }
        self.after_return = byte == b'\r';
        self.bytes += 1;
        if self.bytes > MOST_BYTES {
            return Err(self.too_long());
        }
        match (self.state, byte) {
            (State::CellBegins, b'"') => {
                self.quote_line = self.line;
                self.state = State::Quoted;
            }
            (State::Quoted, b'"') => self.state = State::QuoteInQuotes,
            (State::QuoteInQuotes, b'"') => {
                self.cell.push(byte);
                self.state = State::Quoted;
            }
            (State::Quoted, _) => self.cell.push(byte),
            (_, b',') => self.end_cell()?,
            _ if is_end_of_line => return self.end_record(),
            (State::QuoteInQuotes, _) if self.quote_line < self.line => {
                return Err(self.location(self.quote_line).error(format_args!(
                    "a quote opens here, and the next one, on line {}, does not end a field: is this one never closed?",
                    self.line
                )));
            }
            _ => {
                self.cell.push(byte);
                self.state = State::Plain;
            }
        }
        Ok(None)
    }

    /// The last record, where no end of line follows it.
    fn end(&mut self) -> Result<Option<Record>> {
        if self.state == State::Quoted {
            return Err(self.location(self.quote_line).error("a quote opens here and is never closed"));
        }
        self.end_record()
    }

    fn end_cell(&mut self) -> Result<()> {
        let cell = String::from_utf8(std::mem::take(&mut self.cell)).map_err(|error| {
            let before = error.utf8_error().valid_up_to();
            self.location(self.cell_line).not_utf8(&error.as_bytes()[..before])
        })?;
        self.cells.push(cell);
        self.cell_line = self.line;
        self.state = State::CellBegins;
        Ok(())
    }

    fn end_record(&mut self) -> Result<Option<Record>> {
        let is_blank = self.cells.is_empty() && self.state != State::QuoteInQuotes && self.cell.trim_ascii().is_empty();
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

    fn location(&self, line: u64) -> Location {
        Location { file: self.file.clone(), line }
    }
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
    fn words_after_a_quote_on_one_line_belong_to_the_cell() {
        assert_eq!(records("\"好\"吃,\"a\"\"b\" \n".as_bytes()).unwrap()[0].1, ["好吃", "a\"b "]);
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
                prop_assert!(text.contains('"'));
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
