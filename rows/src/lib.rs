//! One reader of the files that people have.
//!
//! ```text
//! kind         what no reader of texts can read: workbooks, archives
//! encoding     bytes in any encoding -> UTF-8, without a byte-order mark
//! csv          UTF-8 -> records, each with its line; what is broken is an error
//! swallowed    rows within a quoted text
//! lines        UTF-8 -> lines
//! json         a line -> a JSON object in which no field stands twice
//! column       a column by its usual names, or by the one that a person gave
//! row          a record, a JSON object or a line -> named fields
//! input        a path, or `-` -> rows or lines
//! spreadsheet  what a spreadsheet makes of cells
//! ```
//!
//! Rows are read one at a time, and none may be longer than [`MOST_BYTES`]: a file of any size
//! needs little memory. Every error names the file and the line.

mod encoding;
mod kind;

mod csv;
mod json;
mod lines;
mod location;
mod swallowed;

mod column;
mod row;

mod input;

pub mod spreadsheet;

pub use column::Column;
pub use encoding::{Encoding, UnknownEncoding};
pub use input::{Format, Input, Options, UnknownFormat, fields, texts};
pub use lines::{Line, Lines};
pub use location::Location;
pub use row::{Row, Rows};

/// The longest row or line: longer than any review, and short enough to notice a quote that
/// swallows a file.
pub const MOST_BYTES: usize = 16 << 20;

/// UTF-8's byte-order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";
