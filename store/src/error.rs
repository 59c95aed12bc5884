//! What can go wrong, and whether waiting helps.

use sqlx::postgres::PgDatabaseError;

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
    /// A pooler stands before the server, and does not give each session a connection of its own.
    #[error(
        "the database is behind a pooler, such as PgBouncer, with which labelstream does not work: {0}; give the \
        address of Postgres itself, or of a pool with pool_mode = session, where settings, prepared statements and LISTEN \
        last as long as the session"
    )]
    Pooled(String),
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
                let error = error.downcast::<PgDatabaseError>();
                let detail = error.detail().map_or_else(String::new, |detail| format!(" ({detail})"));
                let message = format!("{}{detail}", error.message());
                from_server(error.code(), error.routine().unwrap_or_default(), message)
            }
            sqlx::Error::Io(why) => StoreError::Unavailable(format!("the connection broke: {why}")),
            sqlx::Error::PoolTimedOut => StoreError::Unavailable("no connection could be had in time".to_owned()),
            sqlx::Error::Tls(why) => {
                StoreError::Refused(format!("{why}: check sslmode and sslrootcert in the database URL"))
            }
            sqlx::Error::Protocol(why) if hung_up(&why) => {
                StoreError::Unavailable("what answers there hangs up before it speaks".to_owned())
            }
            error => StoreError::Failed(error.to_string()),
        }
    }
}

/// Whether sqlx has read the end of a connection for an answer, a zero byte: so does what takes
/// connections for a server that is away, such as a load balancer.
pub(crate) fn hung_up(protocol: &str) -> bool {
    protocol.contains("SSLRequest: 0x00")
}

/// What PgBouncer says, under the code of a broken protocol, of what passes by itself.
const PASSES_IN_A_POOLER: [&str; 9] = [
    "administrator command",
    "cannot connect to server",
    "client_login_timeout",
    "no more connections allowed",
    "query_wait_timeout",
    "server conn crashed",
    "server login",
    "server_login_retry",
    "shutting down",
];

/// The server's own word. Codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>
///
/// `routine` is the function of the server that says so: unlike the message it is never translated.
fn from_server(code: &str, routine: &str, message: String) -> StoreError {
    match code {
        "28P01" => StoreError::Refused(format!(
            "{message}: check the user and the password in the database URL, where @ : / % and the like are \
            percent-encoded"
        )),
        "28000" => StoreError::Refused(format!("{message}: check the user and the password in the database URL")),
        "3D000" => {
            StoreError::Refused(format!("{message}: create it with createdb, or name another in the database URL"))
        }
        "42501" => StoreError::Refused(format!("{message}: grant it to the role in the database URL")),
        "3F000" => StoreError::Refused(format!("{message}: does search_path name the schema of the tables?")),
        // The table's own code.
        "LS001" => StoreError::BadLabel(message),
        "42P01" | "42703" => StoreError::Unmigrated { missing: vec![message] },
        "08P01" if PASSES_IN_A_POOLER.iter().any(|said| message.contains(said)) => StoreError::Unavailable(message),
        // A parameter that a pooler does not pass on; an answer to somebody else's statement; a
        // statement that another session has prepared on the same connection.
        "08P01" | "42P05" => StoreError::Pooled(message),
        // A plan that was made before a column was added; a prepared statement that is gone, as
        // after DISCARD ALL. The next connection has neither.
        "0A000" if routine == "RevalidateCachedQuery" => StoreError::Unavailable(message),
        "26000" => StoreError::Unavailable(message),
        // No transaction is begun until somebody vacuums: the rows are not to blame.
        "54000" if routine.starts_with("GetNew") => StoreError::Unavailable(message),
        // A row that is changed while the schema is.
        "XX000" if routine.starts_with("simple_heap_") => StoreError::Unavailable(message),
        // A server that only reads, as one does before or after it was the primary; a transaction
        // that took too long; an object in use, a lock not had in time; a snapshot too old.
        "25006" | "25P03" | "25P04" | "55006" | "55P03" | "72000" => StoreError::Unavailable(message),
        // A constraint that is broken at the commit stays broken. A missing file is damage.
        "40002" | "58P01" | "58P02" => failed(code, &message),
        _ => match code.get(..2) {
            // Connection; serialisation and deadlock; resources; shutdown, cancellation and
            // timeouts; the system below.
            Some("08" | "40" | "53" | "57" | "58") => StoreError::Unavailable(message),
            _ => failed(code, &message),
        },
    }
}

fn failed(code: &str, message: &str) -> StoreError {
    StoreError::Failed(format!("{message} (SQLSTATE {code})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_transient_and_nothing_else_is() {
        let transient = |code| from_server(code, "", "message".to_owned()).is_transient();
        for code in [
            "08000", "08003", "08006", "25006", "25P03", "25P04", "26000", "40001", "40003", "40P01", "53100", "53200",
            "53300", "55006", "55P03", "57014", "57P01", "57P02", "57P03", "57P05", "58000", "58030", "72000",
        ] {
            assert!(transient(code), "{code} should be transient");
        }
        for code in [
            "08P01", "0A000", "22021", "22P05", "23503", "23505", "25P02", "28000", "28P01", "3D000", "3F000", "40002",
            "42501", "42601", "42883", "42P01", "42P05", "54000", "58P01", "XX000", "XX001", "XX002", "",
        ] {
            assert!(!transient(code), "{code} should be final");
        }
    }

    #[test]
    fn one_code_for_different_things_is_told_apart_by_what_no_language_changes() {
        let transient = |code, routine, said: &str| from_server(code, routine, said.to_owned()).is_transient();
        assert!(transient("0A000", "RevalidateCachedQuery", "le plan ne doit pas changer"));
        assert!(!transient("0A000", "transformSelectStmt", "cached plan, in other words"));
        assert!(transient("54000", "GetNewTransactionId", "must vacuum"));
        assert!(!transient("54000", "index_form_tuple", "index row size exceeds"));
        assert!(transient("08P01", "", "server login has been failing, try again later (server_login_retry)"));
        assert!(!transient("08P01", "", "unsupported startup parameter: extra_float_digits"));
    }
}
