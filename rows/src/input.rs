//! A file, or standard input, opened as what it is.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::column::Column;
use crate::csv::Csv;
use crate::encoding::{Encoding, decode};
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
        if told.is_none() && format == Format::Csv {
            let head = input.bytes.fill_buf().with_context(failed)?;
            if head.trim_ascii_start().starts_with(b"{") {
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
        input: impl Read + Send + 'static,
        name: &str,
        format: Format,
        encoding: Option<Encoding>,
    ) -> Result<Self> {
        let bytes = decode(Box::new(input), encoding).with_context(|| format!("{name}: cannot be read"))?;
        Ok(Self { name: name.into(), format, bytes: BufReader::with_capacity(64 << 10, bytes) })
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
    pub fn lines(self) -> Lines {
        Lines::new(self.bytes, self.name)
    }
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

impl Format {
    /// What a file's extension tells.
    pub fn of_extension(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
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
