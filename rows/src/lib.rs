//! One reader of the files that people have.
//!
//! ```text
//! encoding  bytes in any encoding -> UTF-8, without a byte-order mark
//! csv       UTF-8 -> records, each with its line; a quote that is never closed is an error
//! lines     UTF-8 -> lines
//! column    a column by its usual names, or by the one that a person gave
//! row       a record, a JSON object or a line -> named fields
//! input     a path, or `-` -> rows or lines
//! ```
//!
//! Rows are read one at a time, and none may be longer than [`MOST_BYTES`]: a file of any size
//! needs little memory. Every error names the file and the line.

mod encoding;

mod csv;
mod lines;
mod location;

mod column;
mod row;

mod input;

pub use column::Column;
pub use encoding::{Encoding, UnknownEncoding};
pub use input::{Format, Input, Options, UnknownFormat, texts};
pub use lines::{Line, Lines};
pub use location::Location;
pub use row::{Row, Rows};

/// The longest row or line: longer than any review, and short enough to notice a quote that
/// swallows a file.
pub const MOST_BYTES: usize = 16 << 20;
