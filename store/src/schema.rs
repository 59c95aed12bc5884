//! The schema: applied by `labelstream migrate`, checked by everything else.

use std::collections::BTreeSet;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Connection, SqlSafeStr};

use crate::{Store, StoreError};

/// All of them, in their order, with the numbers and names of their files.
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "streams", include_str!("../../migrations/0001_streams.sql")),
    (2, "learning", include_str!("../../migrations/0002_learning.sql")),
];

/// How the database's schema relates to this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// They belong together.
    Current,
    /// A newer release has migrated the database; its migrations are made to be tolerated by this one.
    Newer {
        /// How many migrations this program does not know.
        by: usize,
    },
}

impl Store {
    /// Applies what is missing; several may try at once.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        // A connection of its own: what it holds when this fails, the lock among it, ends with it.
        let mut connection = self.open_unlimited().await?;
        migrations().run(&mut connection).await.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            error => StoreError::Failed(error.to_string()),
        })?;
        Ok(connection.close().await?)
    }

    /// Whether this program can work with the database as it is.
    ///
    /// # Errors
    /// [`StoreError::Unmigrated`] says what is missing; [`StoreError::Refused`] where the database is not in UTF-8.
    pub async fn check_schema(&self) -> Result<Schema, StoreError> {
        let encoding = self.encoding().await?;
        if encoding != "UTF8" {
            let advice = "make a database with `createdb --template template0 --encoding UTF8`";
            return Err(StoreError::Refused(format!(
                "its encoding is {encoding}, which cannot hold every review: {advice}"
            )));
        }
        let applied = self.applied_migrations().await?;
        let known = migrations();
        let missing: Vec<_> = known
            .iter()
            .filter(|migration| !applied.contains(&migration.version))
            .map(|migration| format!("{:04} {}", migration.version, migration.description))
            .collect();
        if !missing.is_empty() {
            return Err(StoreError::Unmigrated { missing });
        }
        match applied.iter().filter(|version| !known.version_exists(**version)).count() {
            0 => Ok(Schema::Current),
            by => Ok(Schema::Newer { by }),
        }
    }

    async fn encoding(&self) -> Result<String, StoreError> {
        self.run(async |connection| Ok(sqlx::query_scalar("show server_encoding").fetch_one(connection).await?)).await
    }

    async fn applied_migrations(&self) -> Result<BTreeSet<i64>, StoreError> {
        let applied = self
            .run(async |connection| {
                Ok(sqlx::query_scalar("select version from _sqlx_migrations").fetch_all(connection).await?)
            })
            .await;
        match applied {
            Ok(versions) => Ok(versions.into_iter().collect()),
            Err(StoreError::Unmigrated { .. }) => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        }
    }
}

fn migrations() -> Migrator {
    let migrations = MIGRATIONS.map(|(version, description, sql)| {
        Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let mut migrations = Migrator::with_migrations(migrations.into());
    // A newer release may have been here first, and this one is run again beside it.
    migrations.set_ignore_missing(true);
    migrations
}
