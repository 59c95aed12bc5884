//! Where something stands in a file, for errors.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::encoding::Malformed;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub(crate) file: Arc<str>,
    /// Counted from 1.
    pub line: u64,
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: line {}", self.file, self.line)
    }
}

impl Location {
    /// An error that stands here.
    pub fn error(&self, message: impl fmt::Display) -> anyhow::Error {
        anyhow::anyhow!("{self}: {message}")
    }

    /// A file that cannot be read any further.
    pub(crate) fn unreadable(&self, error: &io::Error) -> anyhow::Error {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Malformed>()) {
            Some(malformed) => Self { file: self.file.clone(), line: malformed.line }.error(malformed),
            None => self.error(format_args!("cannot be read: {error}")),
        }
    }

    /// A byte that no text holds.
    pub(crate) fn nul(&self) -> anyhow::Error {
        self.error("a NUL character, which is no text; is the file UTF-16? then give --encoding utf-16le, or utf-16be")
    }

    /// A text that is not UTF-8; `before` is what stands before the first bad byte, from the
    /// beginning of this line.
    pub(crate) fn not_utf8(&self, before: &[u8]) -> anyhow::Error {
        let line = self.line + before.iter().filter(|byte| **byte == b'\n').count() as u64;
        Self { file: self.file.clone(), line }.error(
            "not UTF-8; give the file's encoding, such as --encoding gb18030 for a table from a Chinese Excel, or save it as UTF-8",
        )
    }
}
