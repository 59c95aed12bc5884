//! The way in: a pool of connections, each with its own limits, and one deadline over every call.

use std::str::FromStr;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::time::timeout;

use crate::StoreError;

/// What the server is to give up by itself, so that a frozen client holds nothing for long.
const LIMITS: [(&str, &str); 6] = [
    ("lock_timeout", "10s"),
    ("statement_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "10s"),
    // Finds out within a minute that the client's machine is gone.
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
];

/// How long to wait for a connection, to open one or to have one back.
const ACQUIRE: Duration = Duration::from_secs(5);

/// How long to wait for an answer when the network may have swallowed it: longer than the server's
/// own limits.
const ANSWER: Duration = Duration::from_secs(60);

/// A handle on the database; cloning shares the connections.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    /// As the pool connects.
    limited: PgConnectOptions,
    /// Without limits of time: for migrations, which may well take longer and wait for one another.
    unlimited: PgConnectOptions,
}

impl Store {
    /// Connects to `postgres://user:password@host:port/database` with up to `connections`
    /// connections at a time, and makes sure of one of them. Connections that break later are
    /// replaced as they are needed.
    ///
    /// # Errors
    /// Transient where the server does not answer; final where it refuses. None shows the password.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, StoreError> {
        let unlimited = parse(url)?.application_name("labelstream");
        let limited = unlimited.clone().options(LIMITS);
        // Not through the pool, which would hide the cause behind "timed out".
        open(&limited).await?.close().await.ok();
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            .connect_lazy_with(limited.clone());
        Ok(Self { pool, limited, unlimited })
    }

    /// One round trip, for a health check.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.run(async |connection| Ok(connection.ping().await?)).await
    }

    /// The server's version as it says it, such as `15.4`.
    pub async fn server_version(&self) -> Result<String, StoreError> {
        self.run(async |connection| Ok(sqlx::query_scalar("show server_version").fetch_one(connection).await?)).await
    }

    /// Closes the connections, after what they do at the moment.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Does `work` on a connection of the pool, within the deadline.
    pub(crate) async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut lent = Lent { connection: self.pool.acquire().await?, settled: false };
        let late = || StoreError::Unavailable(format!("no answer within {} s", ANSWER.as_secs()));
        let done = timeout(ANSWER, work(&mut lent.connection)).await.unwrap_or_else(|_| Err(late()));
        lent.settled = done.is_ok();
        done
    }

    /// How to open a connection of one's own, with the limits.
    pub(crate) fn limited(&self) -> &PgConnectOptions {
        &self.limited
    }

    /// A connection of its own, without limits of time.
    pub(crate) async fn open_unlimited(&self) -> Result<PgConnection, StoreError> {
        open(&self.unlimited).await
    }
}

/// A connection that goes back to the pool only with every answer read.
///
/// After work that failed, or that was dropped half done, the next user could take the rest of an
/// old answer for its own.
struct Lent {
    connection: PoolConnection<Postgres>,
    settled: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.settled {
            self.connection.close_on_drop();
        }
    }
}

async fn open(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let server = format!("{}:{}", options.get_host(), options.get_port());
    match timeout(ACQUIRE, PgConnection::connect_with(options)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(sqlx::Error::Io(why))) => {
            Err(StoreError::Unavailable(format!("no server answers at {server}: {why}; is it running there?")))
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(StoreError::Unavailable(format!("no answer from {server} within {} s", ACQUIRE.as_secs()))),
    }
}

fn parse(url: &str) -> Result<PgConnectOptions, StoreError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(StoreError::Address("it does not begin with postgres://".to_owned()));
    }
    PgConnectOptions::from_str(url).map_err(|error| match error {
        sqlx::Error::Configuration(why) => StoreError::Address(why.to_string()),
        error => StoreError::Address(error.to_string()),
    })
}
