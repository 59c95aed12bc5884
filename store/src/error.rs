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
    /// The server does not let us in, or not do this; says what to do.
    #[error("Postgres refuses: {0}")]
    Refused(String),
    /// The tables are not there, or not all of them.
    #[error("the database is not migrated (it lacks {}): run `labelstream migrate`", missing.join(", "))]
    Unmigrated {
        /// Which migrations, in order.
        missing: Vec<String>,
    },
    /// Postgres cannot hold this row; the others of its batch may be good.
    #[error("{table} cannot hold the record at offset {kafka_offset}: {detail}")]
    BadRow {
        /// `prediction_rows` or `dead_letter_rows`.
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
    /// Its files were deleted from the checkpoint store.
    #[error("the files of model version {0} were collected: publish it again with `labelstream models register`")]
    Collected(Version),
    /// A round would change what the consumers may say.
    #[error("the candidate has other labels than the champion: only a person may promote it")]
    OtherLabels,
    /// No such round.
    #[error("there is no round {0}")]
    NoSuchRound(i64),
    /// A label of a class that nobody knows.
    #[error("`{label}` is not a known class: they are {}", known.join(", "))]
    UnknownLabel {
        /// The label.
        label: String,
        /// The classes that there are.
        known: Vec<String>,
    },
    /// A label that leaves the text to a review that there is not.
    #[error("there is no review `{0}` to take the text from: give the text as well")]
    NoSuchReview(String),
    /// A label of a review that has another text: labels are never taken back, and of each review
    /// the newest counts.
    #[error(
        "the review id `{review_id}` has another text, `{held}`: is the id shortened, as a spreadsheet writes a long \
        number? format the column as text before the ids go in"
    )]
    OtherText {
        /// The id.
        review_id: String,
        /// The text that the label speaks of.
        text: String,
        /// A text that the review has.
        held: String,
    },
    /// A label that the table refuses, and why.
    #[error("{0}")]
    BadLabel(String),
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

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => {
                let detail = error
                    .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
                    .and_then(|error| error.detail())
                    .map_or_else(String::new, |detail| format!(" ({detail})"));
                from_server(error.code().as_deref().unwrap_or_default(), format!("{}{detail}", error.message()))
            }
            sqlx::Error::Io(why) => StoreError::Unavailable(format!("the connection broke: {why}")),
            sqlx::Error::PoolTimedOut => StoreError::Unavailable("no connection could be had in time".to_owned()),
            sqlx::Error::Tls(why) => {
                StoreError::Refused(format!("{why}: check sslmode and sslrootcert in the database URL"))
            }
            error => StoreError::Failed(error.to_string()),
        }
    }
}

/// The server's own word. Codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn from_server(code: &str, message: String) -> StoreError {
    match code {
        "28P01" | "28000" => {
            StoreError::Refused(format!("{message}: check the user and the password in the database URL"))
        }
        "3D000" => {
            StoreError::Refused(format!("{message}: create it with createdb, or name another in the database URL"))
        }
        "42501" => StoreError::Refused(format!("{message}: grant it to the role in the database URL")),
        // The table's own code.
        "LS001" => StoreError::BadLabel(message),
        "42P01" | "42703" => StoreError::Unmigrated { missing: vec![message] },
        // A lock not had in time; a server that only reads, as one does before or after it was the
        // primary.
        "55P03" | "25006" | "25P03" => StoreError::Unavailable(message),
        _ => match code.get(..2) {
            // Connection; serialisation and deadlock; resources; shutdown, cancellation and
            // timeouts; the system below.
            Some("08" | "40" | "53" | "57" | "58") => StoreError::Unavailable(message),
            _ => StoreError::Failed(format!("{message} (SQLSTATE {code})")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_transient_and_nothing_else_is() {
        let transient = |code| from_server(code, "message".to_owned()).is_transient();
        for code in ["08006", "40001", "40P01", "53100", "53300", "55P03", "57014", "57P01", "57P03", "58030", "25006"]
        {
            assert!(transient(code), "{code} should be transient");
        }
        for code in ["28P01", "28000", "3D000", "42501", "42P01", "22P05", "23505", "XX001", ""] {
            assert!(!transient(code), "{code} should be final");
        }
    }
}
