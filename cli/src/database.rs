//! Where Postgres and the checkpoints are: flags that several commands share.

use anyhow::Context;
use store::Store;

/// The database of the stream.
#[derive(clap::Args, Clone, Debug)]
pub struct DatabaseArguments {
    /// Postgres, as postgres://user:password@host:port/database.
    #[arg(long, env = "LABELSTREAM_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: String,
}

impl DatabaseArguments {
    /// A connection to a database that `labelstream migrate` has prepared.
    pub async fn connect(&self) -> anyhow::Result<Store> {
        let store = connect(&self.database_url).await?;
        store.check_schema().await?;
        Ok(store)
    }
}

/// A connection, whatever the schema.
pub async fn connect(url: &str) -> anyhow::Result<Store> {
    // A command asks one thing after the other; the second connection is for what runs beside it.
    Store::connect(url, 2).await.context("the database cannot be used")
}

/// The checkpoint store.
#[derive(clap::Args, Clone, Debug)]
pub struct CheckpointArguments {
    /// Where checkpoints are kept: file:///directory, or a URL of an object store.
    #[arg(long, env = "LABELSTREAM_CHECKPOINTS", value_name = "URL")]
    pub checkpoints: String,
}
