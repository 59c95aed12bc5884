//! The schema: applied by `labelstream migrate`, checked by everything else.

use std::collections::BTreeMap;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Connection, SqlSafeStr};

use crate::{Store, StoreError};

/// All of them, in their order, with the numbers and names of their files.
const MIGRATIONS: [(i64, &str, &str); 8] = [
    (1, "streams", include_str!("../../migrations/0001_streams.sql")),
    (2, "learning", include_str!("../../migrations/0002_learning.sql")),
    (3, "restores", include_str!("../../migrations/0003_restores.sql")),
    (5, "crashes", include_str!("../../migrations/0005_crashes.sql")),
    (6, "picks", include_str!("../../migrations/0006_picks.sql")),
    (7, "drift", include_str!("../../migrations/0007_drift.sql")),
    (8, "shadow", include_str!("../../migrations/0008_shadow.sql")),
    (9, "page", include_str!("../../migrations/0009_page.sql")),
];

/// How the database's schema relates to this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// They belong together.
    Current,
    /// A newer release has migrated the database; its migrations are made to be tolerated by this
    /// one.
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
    /// [`StoreError::Unmigrated`] says what is missing; [`StoreError::Refused`] where the database
    /// is not in UTF-8, or was migrated by other files of the same numbers.
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
        if let Some(other) = known.iter().find(|own| applied.get(&own.version).is_some_and(|sum| *sum != *own.checksum))
        {
            return Err(StoreError::Refused(format!(
                "its migration {:04} is not this program's: it was made before the first release; make a new database",
                other.version
            )));
        }
        let missing: Vec<_> = known
            .iter()
            .filter(|migration| !applied.contains_key(&migration.version))
            .map(|migration| format!("{:04} {}", migration.version, migration.description))
            .collect();
        if !missing.is_empty() {
            return Err(StoreError::Unmigrated { missing });
        }
        match applied.keys().filter(|version| !known.version_exists(**version)).count() {
            0 => Ok(Schema::Current),
            by => Ok(Schema::Newer { by }),
        }
    }

    async fn encoding(&self) -> Result<String, StoreError> {
        self.run(async |connection| Ok(sqlx::query_scalar("show server_encoding").fetch_one(connection).await?)).await
    }

    /// The numbers of the migrations that were applied, and the checksums of their files.
    async fn applied_migrations(&self) -> Result<BTreeMap<i64, Vec<u8>>, StoreError> {
        let applied = self
            .run(async |connection| {
                Ok(sqlx::query_as("select version, checksum from _sqlx_migrations").fetch_all(connection).await?)
            })
            .await;
        match applied {
            Ok(applied) => Ok(applied.into_iter().collect()),
            Err(StoreError::Unmigrated { .. }) => Ok(BTreeMap::new()),
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
