//! What can go wrong, and whether waiting helps.

use crate::models::Version;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL cannot be used.
    #[error("the database URL is not usable: {0}; it should look like postgres://user:password@host:5432/database")]
    Address(String),
    /// The server is away, busy or restarting.
    #[error("Postgres is unavailable: {0}")]
    Unavailable(String),
    /// The server does not let us in, or not do this.
    #[error("Postgres refuses: {0}")]
    Refused(String),
    /// The tables are not there, or not all of them.
    #[error("the database lacks {} ({}): run `labelstream migrate`", if missing.len() == 1 { "a migration" } else { "migrations" }, missing.join(", "))]
    Unmigrated {
        /// Which, in order.
        missing: Vec<String>,
    },
    /// Postgres cannot hold this row; the others of its batch may be good.
    #[error("{table} cannot hold the record at offset {kafka_offset}: {detail}")]
    BadRow {
        /// `predictions` or `dead_letters`.
        table: &'static str,
        /// The record.
        kafka_offset: i64,
        /// Why, as Postgres puts it.
        detail: String,
    },
    /// The champion is not the expected one.
    #[error("the champion is {}, not {} as expected", describe(*.champion), describe(*.expected))]
    Conflict {
        /// The version that serves.
        champion: Option<Version>,
        /// The version that should have.
        expected: Option<Version>,
    },
    /// No such version.
    #[error("there is no model version {0}")]
    NoSuchModel(Version),
    /// No other version has ever served.
    #[error("there is no earlier champion to roll back to")]
    NothingToRollBackTo,
    /// A statement failed in a way that is not foreseen.
    #[error("Postgres failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody mending anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Unavailable(_))
    }
}

fn describe(version: Option<Version>) -> String {
    version.map_or_else(|| "none".to_owned(), |version| format!("version {version}"))
}
