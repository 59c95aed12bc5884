//! The lines of a file.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use anyhow::Result;

use crate::location::Location;
use crate::{MARK, MOST_BYTES};

/// The lines of a file, one after the other, blank ones too.
pub struct Lines {
    input: BufReader<Box<dyn Read + Send>>,
    location: Location,
}

/// A line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it stands.
    pub location: Location,
    /// What stands there: UTF-8 where the file is, which [`text`](Self::text) checks.
    pub bytes: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(input: BufReader<Box<dyn Read + Send>>, file: Arc<str>) -> Self {
        Self { input, location: Location { file, line: 0 } }
    }
}

impl Iterator for Lines {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Result<Line>> {
        self.location.line += 1;
        let mut bytes = Vec::new();
        match self.input.by_ref().take(MOST_BYTES as u64).read_until(b'\n', &mut bytes) {
            Err(error) => return Some(Err(self.location.unreadable(&error))),
            Ok(0) => return None,
            Ok(MOST_BYTES) => return Some(Err(self.location.error("longer than 16 MiB"))),
            Ok(_) => {}
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        while bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        // Where files were put together, a mark stands within.
        if bytes.starts_with(MARK) {
            bytes.drain(..MARK.len());
        }
        Some(Ok(Line { location: self.location.clone(), bytes }))
    }
}

impl Line {
    /// Whether nothing but white space stands there.
    pub fn is_blank(&self) -> bool {
        self.bytes.trim_ascii().is_empty()
    }

    /// The line as a text that stands for itself.
    ///
    /// # Errors
    /// As [`characters`](Self::characters); a NUL, or a carriage return amid the line.
    pub fn text(&self) -> Result<&str> {
        let text = self.characters()?;
        if text.contains('\0') {
            return Err(self.location.nul());
        }
        if text.contains('\r') {
            return Err(self.location.error("a carriage return amid the line: lines end with a line feed"));
        }
        Ok(text)
    }

    /// The line's characters, whatever they are.
    ///
    /// # Errors
    /// Bytes that are not UTF-8.
    pub fn characters(&self) -> Result<&str> {
        std::str::from_utf8(&self.bytes).map_err(|_| self.location.not_utf8(&[]))
    }
}
