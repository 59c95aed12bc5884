//! Rows in the binary form of `copy`: with all indexes in place the server spends a fifth less time
//! on them than on `unnest` (`bench write-rate`), and the client encodes them once, without
//! arrays.
//!
//! The form: <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format"; each value
//! as the type's `recv` function reads it.

use chrono::{DateTime, Utc};

/// Signature, flags and the length of a header extension that there is not.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// A number of fields that no row has.
const TRAILER: [u8; 2] = (-1i16).to_be_bytes();
const NULL: [u8; 4] = (-1i32).to_be_bytes();

/// 2000-01-01, where Postgres counts time from, in microseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// The object ids of the types that stand in arrays here; fixed in the server's catalog.
const BYTEA: i32 = 17;
const TEXT: i32 = 25;
const REAL: i32 = 700;

/// Rows on their way into a table.
pub(crate) struct CopyRows {
    bytes: Vec<u8>,
}

impl CopyRows {
    pub fn new() -> Self {
        Self { bytes: HEADER.to_vec() }
    }

    /// What is waiting to be sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// After sending; the memory is used again.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Begins a row of so many fields, which must follow.
    pub fn row(&mut self, fields: i16) {
        self.bytes.extend(fields.to_be_bytes());
    }

    /// After the last row.
    pub fn end(&mut self) {
        self.bytes.extend(TRAILER);
    }

    pub fn integer(&mut self, value: i32) {
        self.field(&value.to_be_bytes());
    }

    pub fn bigint(&mut self, value: i64) {
        self.field(&value.to_be_bytes());
    }

    pub fn real(&mut self, value: f32) {
        self.field(&value.to_be_bytes());
    }

    pub fn text(&mut self, value: &str) {
        self.field(value.as_bytes());
    }

    pub fn bytea(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.field(value),
            None => self.null(),
        }
    }

    /// To the microsecond, downwards.
    pub fn timestamptz(&mut self, value: Option<DateTime<Utc>>) {
        match value {
            Some(value) => self.bigint(value.timestamp_micros() - POSTGRES_EPOCH),
            None => self.null(),
        }
    }

    /// `value` is JSON text; the server parses it.
    pub fn jsonb(&mut self, value: Option<&str>) {
        const FORMAT: u8 = 1;
        match value {
            Some(value) => {
                self.length(1 + value.len());
                self.bytes.push(FORMAT);
                self.bytes.extend(value.as_bytes());
            }
            None => self.null(),
        }
    }

    pub fn reals(&mut self, values: &[f32]) {
        self.array(REAL, values.len(), |rows| values.iter().for_each(|value| rows.real(*value)));
    }

    pub fn texts<'a>(&mut self, values: impl ExactSizeIterator<Item = &'a str>) {
        self.array(TEXT, values.len(), |rows| values.for_each(|value| rows.text(value)));
    }

    pub fn byteas<'a>(&mut self, values: impl ExactSizeIterator<Item = Option<&'a [u8]>>) {
        self.array(BYTEA, values.len(), |rows| values.for_each(|value| rows.bytea(value)));
    }

    fn array(&mut self, element_type: i32, count: usize, elements: impl FnOnce(&mut Self)) {
        const MAY_HAVE_NULLS: i32 = 1;
        const LOWER_BOUND: i32 = 1;
        let start = self.bytes.len();
        self.length(0); // known only at the end
        let dimensions = i32::from(count > 0);
        for word in [dimensions, MAY_HAVE_NULLS, element_type] {
            self.bytes.extend(word.to_be_bytes());
        }
        if count > 0 {
            self.length(count);
            self.bytes.extend(LOWER_BOUND.to_be_bytes());
            elements(self);
        }
        let length = length(self.bytes.len() - start - 4);
        self.bytes[start..start + 4].copy_from_slice(&length);
    }

    fn field(&mut self, value: &[u8]) {
        self.length(value.len());
        self.bytes.extend(value);
    }

    fn null(&mut self) {
        self.bytes.extend(NULL);
    }

    fn length(&mut self, length_of: usize) {
        self.bytes.extend(length(length_of));
    }
}

fn length(length: usize) -> [u8; 4] {
    i32::try_from(length).expect("a value of two gigabytes past Kafka's own limit is a bug").to_be_bytes()
}
