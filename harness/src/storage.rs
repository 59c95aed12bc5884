//! What one test writes to: a database and a directory.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool, query_scalar};
use stack::Postgres;
use store::Store;
use tempfile::TempDir;

use crate::postgres;

/// A database and a directory of a test's own.
pub struct Storage {
    /// The database's address.
    pub database: String,
    /// The same database, for looking into.
    pub pool: PgPool,
    /// The store on it.
    pub store: Store,
    files: TempDir,
}

impl Storage {
    /// With a migrated database on the server that all tests share.
    pub async fn new() -> Self {
        Self::on(postgres()).await
    }

    /// The same on another server, which the test may stop.
    pub async fn on(server: &Postgres) -> Self {
        let storage = Self::unmigrated(server).await;
        storage.store.migrate().await.expect("the migrations apply");
        storage
    }

    /// The same with an empty database.
    pub async fn unmigrated(server: &Postgres) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let database = server.create_database(&name).expect("the database can be made");
        let pool = pool(&database);
        let store = Store::connect(&database, 2).await.expect("the database answers");
        Self { database, pool, store, files: TempDir::new().expect("a directory can be made") }
    }

    /// Looks into another database from now on: a copy of the one before.
    pub fn move_to(&mut self, database: String) {
        self.pool = pool(&database);
        self.database = database;
    }

    /// A file or directory of this name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// One number from the database; `None` while it does not answer.
    pub async fn number(&self, sql: &str) -> Option<i64> {
        query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await.ok()
    }
}

/// A test that stops the server asks on and on: let each question be short.
fn pool(database: &str) -> PgPool {
    let options = PgPoolOptions::new().max_connections(4).acquire_timeout(Duration::from_secs(5));
    options.connect_lazy(database).expect("the address is one")
}
