//! The flags of the database.

use anyhow::{Context as _, Result};
use store::{Store, StoreError};

use crate::Secret;

/// Where Postgres is.
#[derive(clap::Args, Clone, Debug)]
pub struct DatabaseArguments {
    /// Postgres database, as psql takes it: postgres://user:password@host:port/database
    #[arg(
        id = "database_url",
        long = "database-url",
        env = "LABELSTREAM_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub url: Secret,

    /// Connections that write, at most: as many partitions at the same time; two more are for
    /// everything else
    #[arg(
        id = "database_connections",
        long = "database-connections",
        env = "LABELSTREAM_DATABASE_CONNECTIONS",
        default_value_t = CONNECTIONS,
        value_name = "N"
    )]
    pub connections: u32,
}

const CONNECTIONS: u32 = 4;

impl DatabaseArguments {
    /// The database at this URL, with the usual number of connections.
    pub fn new(url: impl Into<Secret>) -> Self {
        Self { url: url.into(), connections: CONNECTIONS }
    }

    /// A connection, whatever the schema.
    ///
    /// # Errors
    /// Transient where the server does not answer; final where it refuses.
    pub async fn open(&self) -> Result<Store, StoreError> {
        Store::connect(self.url.expose(), self.connections).await
    }

    /// A connection to a database that `labelstream migrate` has prepared.
    ///
    /// # Errors
    /// A server that does not answer or refuses; a schema that is not migrated.
    pub async fn connect(&self) -> Result<Store> {
        let store = self.open().await.context("the database cannot be used")?;
        store.check_schema().await?;
        Ok(store)
    }
}
