//! A file, or standard input, opened as what it is.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::column::Column;
use crate::csv::Csv;
use crate::encoding::{Encoding, decode};
use crate::kind::{HEAD, refuse_other_kinds};
use crate::lines::Lines;
use crate::row::Rows;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A table with a header.
    Csv,
    /// A JSON object a line.
    JsonLines,
    /// A text a line.
    Lines,
}

/// What a person says of a file; without it, the file tells.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What it holds, where its extension does not tell.
    pub format: Option<Format>,
    /// How its characters are written, where there is no byte-order mark and it is not UTF-8.
    pub encoding: Option<Encoding>,
}

/// An open file.
pub struct Input {
    name: Arc<str>,
    format: Format,
    /// Whether a person said what it holds.
    is_told: bool,
    bytes: BufReader<Box<dyn Read + Send>>,
}

impl Input {
    /// Opens a file, or standard input for `-`. Its extension tells what it holds; where it tells
    /// nothing, the file holds what is `otherwise` usual, or JSON lines in place of a CSV where it
    /// begins with `{`.
    ///
    /// # Errors
    /// A file that cannot be read; one that nothing tells the format of.
    pub fn open(path: &Path, options: Options, otherwise: Option<Format>) -> Result<Self> {
        let is_standard_input = path.as_os_str() == "-";
        let name = if is_standard_input { "standard input".to_owned() } else { path.display().to_string() };
        let told = options.format.or_else(|| Format::of_extension(path));
        let format = told.or(otherwise).with_context(|| {
            format!("{name}: expected a .csv, .jsonl or .txt file, or - for standard input; --format tells what it is")
        })?;
        let failed = || format!("{name}: cannot be read");
        let bytes: Box<dyn Read + Send> =
            if is_standard_input { Box::new(io::stdin()) } else { Box::new(File::open(path).with_context(failed)?) };
        let mut input = Self::new(bytes, &name, format, options.encoding)?;
        input.is_told = options.format.is_some();
        if told.is_none() && format == Format::Csv {
            let head = input.bytes.fill_buf().with_context(failed)?;
            if head.trim_ascii_start().starts_with(b"{") || head.trim_ascii_start().starts_with(b"[") {
                input.format = Format::JsonLines;
            }
        }
        Ok(input)
    }

    /// Anything that can be read, by the `name` that errors give it.
    ///
    /// # Errors
    /// An input that cannot be read.
    pub fn new(
        mut input: impl Read + Send + 'static,
        name: &str,
        format: Format,
        encoding: Option<Encoding>,
    ) -> Result<Self> {
        let failed = || format!("{name}: cannot be read");
        let head = first_line(&mut input).with_context(failed)?;
        refuse_other_kinds(name, &head, encoding.is_some())?;
        let bytes = decode(head, Box::new(input), encoding);
        Ok(Self { name: name.into(), format, is_told: true, bytes: BufReader::with_capacity(64 << 10, bytes) })
    }

    /// What it holds.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its rows.
    ///
    /// # Errors
    /// A CSV without a usable header.
    pub fn rows(self) -> Result<Rows> {
        match self.format {
            Format::Csv => Rows::csv(Csv::new(self.bytes, self.name.clone()), self.name),
            Format::JsonLines => Ok(Rows::json_lines(Lines::new(self.bytes, self.name.clone()), self.name)),
            Format::Lines => Ok(Rows::lines(Lines::new(self.bytes, self.name.clone()), self.name)),
        }
    }

    /// Its lines, whatever they hold.
    ///
    /// # Errors
    /// Lines that nobody called lines, and that are another format's: their first one tells.
    pub fn lines(mut self) -> Result<Lines> {
        if !self.is_told && self.format == Format::Lines {
            let head = self.bytes.fill_buf().with_context(|| format!("{}: cannot be read", self.name))?;
            refuse_other_formats(&self.name, head)?;
        }
        Ok(Lines::new(self.bytes, self.name))
    }
}

/// The first bytes of a file, and no line of a person who types.
fn first_line(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while head.len() < HEAD && !head.contains(&b'\n') {
        let mut bytes = [0; HEAD];
        match input.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => head.extend(&bytes[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(head)
}

/// Refuses a table, and an array of JSON, in the place of texts.
fn refuse_other_formats(name: &str, head: &[u8]) -> Result<()> {
    let line = head.split(|byte| matches!(byte, b'\r' | b'\n')).find(|line| !line.trim_ascii().is_empty());
    let line = String::from_utf8_lossy(line.unwrap_or_default().trim_ascii()).to_lowercase();
    let line = line.trim_start_matches('\u{feff}');
    let is_array = line == "[" || line.strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with('{'));
    ensure!(!is_array, "{name}: line 1: a JSON array: an object a line is expected, as `jq -c '.[]'` makes them of it");
    let names: Vec<&str> = line.split([',', ';', '\t']).map(|name| name.trim().trim_matches('"')).collect();
    let is_name =
        |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_header =
        names.len() > 1 && names.iter().all(is_name) && (names.contains(&"text") || names.contains(&"review"));
    ensure!(
        !is_header && !line.starts_with("sep="),
        "{name}: line 1 is the header of a table: --format csv reads it as one (--format lines as a text a line)"
    );
    Ok(())
}

/// The texts of a table, one a row.
///
/// # Errors
/// A file that cannot be read, or has no column of texts.
pub fn texts(path: &Path) -> Result<Vec<String>> {
    let rows = Input::open(path, Options::default(), Some(Format::Csv))?.rows()?;
    let text = Column::text(None);
    rows.require(&text)?;
    rows.map(|row| row?.take_required(&text)).collect()
}

/// The fields of one row of a CSV: names in a flag, of which one that holds a comma stands in
/// quotes.
///
/// # Errors
/// What would be broken in a table, and several rows.
pub fn fields(row: &str, name: &str) -> Result<Vec<String>> {
    let bytes: Box<dyn Read + Send> = Box::new(io::Cursor::new(row.to_owned()));
    let mut csv = Csv::new(BufReader::new(bytes), name.into());
    let fields = csv.read()?.map_or_else(Vec::new, |record| record.cells);
    ensure!(csv.read()?.is_none(), "{name}: more than one line");
    Ok(fields)
}

impl Format {
    /// What a file's extension tells.
    pub fn of_extension(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "json" | "jsonl" | "ndjson" => Some(Self::JsonLines),
            "txt" => Some(Self::Lines),
            _ => None,
        }
    }
}

/// A name that is no format's.
#[derive(Debug)]
pub struct UnknownFormat(String);

impl std::error::Error for UnknownFormat {}

impl fmt::Display for UnknownFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "no format is called {:?}; there are csv, jsonl and lines", self.0)
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "csv" => Ok(Self::Csv),
            "jsonl" => Ok(Self::JsonLines),
            "lines" => Ok(Self::Lines),
            _ => Err(UnknownFormat(name.to_owned())),
        }
    }
}
