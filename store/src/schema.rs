//! The schema: applied by `labelstream migrate`, checked by everything else.

use crate::{Store, StoreError};

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
        todo!()
    }

    /// Whether this program can work with the database as it is.
    ///
    /// # Errors
    /// [`StoreError::Unmigrated`] says what is missing.
    pub async fn check_schema(&self) -> Result<Schema, StoreError> {
        todo!()
    }
}
