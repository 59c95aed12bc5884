//! One partition's batch, written in one transaction behind the fence.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgDatabaseError;
use sqlx::{Connection, PgConnection};

use crate::copy::CopyRows;
use crate::fence::{Counts, Step};
use crate::models::Version;
use crate::stream::{Epoch, NextOffset, Outcome, Stream};
use crate::{Store, StoreError};

/// Rows are sent in pieces of about this size, so that a batch of long texts is never held twice.
const CHUNK: usize = 1 << 20;

/// The effects of the records of one partition from one position to the next.
#[derive(Debug, Clone)]
pub struct Write {
    /// The partition.
    pub partition: i32,
    /// The claim under which this is written.
    pub epoch: Epoch,
    /// The position that the write starts at: must be the one in Postgres.
    pub from: NextOffset,
    /// The position that it leaves; beyond every offset in the rows. Offsets have holes, so this is
    /// more than a count.
    pub to: NextOffset,
    /// What the model said.
    pub predictions: Vec<PredictionRow>,
    /// The records that could not become reviews.
    pub dead_letters: Vec<DeadLetterRow>,
    /// How many records had no value; they are counted and leave nothing else.
    pub tombstones: u64,
}

/// A row of `prediction_rows`.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionRow {
    /// Offset of the record.
    pub kafka_offset: i64,
    /// The record's own timestamp.
    pub record_time: Option<DateTime<Utc>>,
    /// The id of the review.
    pub review_id: String,
    /// The text that was classified; no NUL.
    pub text: String,
    /// When the review was written, as the message says.
    pub created_at: Option<DateTime<Utc>>,
    /// The message's other fields: the text of a JSON object.
    pub attributes: Option<String>,
    /// The most probable label.
    pub label: Arc<str>,
    /// Its probability.
    pub score: f32,
    /// The probability of each label, in the order of the model's labels.
    pub scores: Vec<f32>,
    /// The version that said so.
    pub version: Version,
    /// What it computed with: `f32`, `bf16` or `int8`.
    pub precision: &'static str,
}

/// A row of `dead_letter_rows`.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetterRow {
    /// Offset of the record.
    pub kafka_offset: i64,
    /// The record's own timestamp.
    pub record_time: Option<DateTime<Utc>>,
    /// A stable code: people group and filter by it.
    pub reason: &'static str,
    /// A sentence for people; no NUL.
    pub detail: String,
    /// The key, byte for byte.
    pub key: Option<Vec<u8>>,
    /// The value, byte for byte.
    pub payload: Option<Vec<u8>>,
    /// The headers in their order, byte for byte.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Store {
    /// Writes a batch and moves the position, both or neither.
    ///
    /// May be called again with the same `write` after any transient error, an unknown outcome of
    /// the commit among them: what was committed is recognised by its position, and is not written
    /// twice.
    ///
    /// # Errors
    /// [`StoreError::BadRow`] names the offset of a row that Postgres cannot hold; nothing was
    /// written.
    pub async fn write(&self, stream: &Stream, write: &Write) -> Result<Outcome, StoreError> {
        write.check();
        let step = Step { partition: write.partition, epoch: write.epoch, from: write.from, to: write.to };
        self.run_write(async |connection| {
            let mut transaction = connection.begin().await?;
            let Some(stream_id) = step.take(&mut transaction, stream, write.counts()).await? else {
                return step.outcome(&mut transaction, stream).await;
            };
            if !write.predictions.is_empty() {
                copy_predictions(&mut transaction, stream_id, write).await?;
            }
            if !write.dead_letters.is_empty() {
                copy_dead_letters(&mut transaction, stream_id, write).await?;
            }
            transaction.commit().await?;
            Ok(Outcome::Written)
        })
        .await
    }
}

impl Write {
    /// Every record takes an offset of its own between the two positions.
    fn check(&self) {
        let predictions = self.predictions.iter().map(|row| row.kafka_offset);
        let dead_letters = self.dead_letters.iter().map(|row| row.kafka_offset);
        for offset in predictions.chain(dead_letters) {
            let inside = self.from.0 <= offset && offset < self.to.0;
            assert!(inside, "a record at offset {offset} outside {:?}..{:?} is a bug", self.from, self.to);
        }
        let counts = self.counts();
        let records = counts.predictions + counts.dead_letters + counts.tombstones;
        assert!(records <= self.to.0 - self.from.0, "more records than offsets is a bug: {counts:?}");
    }

    fn counts(&self) -> Counts {
        Counts {
            predictions: self.predictions.len() as i64,
            dead_letters: self.dead_letters.len() as i64,
            tombstones: self.tombstones as i64,
        }
    }
}

async fn copy_predictions(transaction: &mut PgConnection, stream_id: i32, write: &Write) -> Result<(), StoreError> {
    let statement = "copy prediction_rows (stream_id, partition, kafka_offset, record_time, review_id, text,
        created_at, attributes, label, score, scores, version, precision) from stdin (format binary)";
    copy_rows(transaction, statement, &write.predictions, |to, row| {
        to.row(13);
        put_record(to, stream_id, write.partition, row.kafka_offset, row.record_time);
        to.text(&row.review_id);
        to.text(&row.text);
        to.timestamptz(row.created_at);
        to.jsonb(row.attributes.as_deref());
        to.text(&row.label);
        to.real(row.score);
        to.reals(&row.scores);
        to.bigint(row.version.0);
        to.text(row.precision);
    })
    .await
    .map_err(|error| with_offset(error, "prediction_rows", write.predictions.iter().map(|row| row.kafka_offset)))
}

async fn copy_dead_letters(transaction: &mut PgConnection, stream_id: i32, write: &Write) -> Result<(), StoreError> {
    let statement = "copy dead_letter_rows (stream_id, partition, kafka_offset, record_time, reason, detail, key,
        payload, header_names, header_values) from stdin (format binary)";
    copy_rows(transaction, statement, &write.dead_letters, |to, row| {
        to.row(10);
        put_record(to, stream_id, write.partition, row.kafka_offset, row.record_time);
        to.text(row.reason);
        to.text(&row.detail);
        to.bytea(row.key.as_deref());
        to.bytea(row.payload.as_deref());
        to.texts(row.headers.iter().map(|(name, _)| name.as_str()));
        to.byteas(row.headers.iter().map(|(_, value)| value.as_deref()));
    })
    .await
    .map_err(|error| with_offset(error, "dead_letter_rows", write.dead_letters.iter().map(|row| row.kafka_offset)))
}

/// The columns that both tables begin with.
fn put_record(
    to: &mut CopyRows,
    stream_id: i32,
    partition: i32,
    kafka_offset: i64,
    record_time: Option<DateTime<Utc>>,
) {
    to.integer(stream_id);
    to.integer(partition);
    to.bigint(kafka_offset);
    to.timestamptz(record_time);
}

async fn copy_rows<Row>(
    connection: &mut PgConnection,
    statement: &str,
    rows: &[Row],
    put: impl Fn(&mut CopyRows, &Row),
) -> Result<(), sqlx::Error> {
    let mut copy = connection.copy_in_raw(statement).await?;
    let mut encoded = CopyRows::new();
    for row in rows {
        put(&mut encoded, row);
        if encoded.bytes().len() >= CHUNK {
            copy.send(encoded.bytes()).await?;
            encoded.clear();
        }
    }
    encoded.end();
    copy.send(encoded.bytes()).await?;
    let copied = copy.finish().await?;
    assert_eq!(copied, rows.len() as u64, "rows lost on the way into a table are a bug");
    Ok(())
}

/// Names the record that the server could not take: it says the line, which counts the rows from
/// one.
fn with_offset(error: sqlx::Error, table: &'static str, mut offsets: impl Iterator<Item = i64>) -> StoreError {
    let sqlx::Error::Database(database_error) = &error else {
        return error.into();
    };
    let own_fault = database_error.code().is_some_and(|code| is_the_rows_fault(&code));
    let line = database_error.try_downcast_ref::<PgDatabaseError>().and_then(|error| line(error.r#where()?, table));
    match line.filter(|_| own_fault).and_then(|line| offsets.nth(line.checked_sub(1)?)) {
        Some(kafka_offset) => StoreError::BadRow { table, kafka_offset, detail: database_error.message().to_owned() },
        None => error.into(),
    }
}

/// Class 22 is a value that cannot be, class 54 one past a limit of the server. A form that the
/// server cannot read is the fault of the encoder, and no row is to suffer for it.
fn is_the_rows_fault(code: &str) -> bool {
    const INVALID_BINARY_REPRESENTATION: &str = "22P03";
    const BAD_COPY_FILE_FORMAT: &str = "22P04";
    let encoding = [INVALID_BINARY_REPRESENTATION, BAD_COPY_FILE_FORMAT].contains(&code);
    (code.starts_with("22") || code.starts_with("54")) && !encoding
}

/// The number in `COPY prediction_rows, line 3, column text`, whatever the language of the server's
/// messages.
fn line(context: &str, table: &str) -> Option<usize> {
    let (_, after) = context.split_once(&format!("COPY {table}"))?;
    let digits = after.trim_start_matches(|character: char| !character.is_ascii_digit());
    digits.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_in_any_language() {
        assert_eq!(line("COPY prediction_rows, line 12, column text", "prediction_rows"), Some(12));
        let nested = "JSON data, line 1: ...\nCOPY prediction_rows, Zeile 7, Spalte attributes";
        assert_eq!(line(nested, "prediction_rows"), Some(7));
        assert_eq!(line("COPY dead_letter_rows, line 3", "prediction_rows"), None);
        assert_eq!(line("SQL function \"f\"", "prediction_rows"), None);
    }

    #[test]
    fn only_a_value_that_cannot_be_held_is_the_rows_fault() {
        for code in ["22021", "22P05", "22P02", "22008", "54000", "54001"] {
            assert!(is_the_rows_fault(code), "{code}");
        }
        for code in ["22P03", "22P04", "23505", "42P01", "53100", "57014"] {
            assert!(!is_the_rows_fault(code), "{code}");
        }
    }
}
