//! The way in: a pool of connections that set their own limits.

use crate::StoreError;

/// A handle on the database; cloning shares the connections.
#[derive(Debug, Clone)]
pub struct Store {
    pool: sqlx::PgPool,
}

impl Store {
    /// Connects to `postgres://user:password@host:port/database` with up to `connections` connections at a time, and
    /// makes sure of one of them. Connections that break later are replaced as they are needed.
    ///
    /// # Errors
    /// Transient where the server does not answer; final where it refuses. None shows the password.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, StoreError> {
        todo!()
    }

    /// One round trip, for a health check.
    pub async fn ping(&self) -> Result<(), StoreError> {
        todo!()
    }

    /// The server's version as it says it, such as `15.4`.
    pub async fn server_version(&self) -> Result<String, StoreError> {
        todo!()
    }

    /// Closes the connections, after what they do at the moment.
    pub async fn close(&self) {
        todo!()
    }
}
