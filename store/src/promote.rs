//! Which model serves, and the record of every change of it.

use chrono::{DateTime, Utc};

use crate::models::Version;
use crate::{Store, StoreError};

/// A row of `deployments`: from then on, until the next row, `version` was what `alias` names.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Deployment {
    /// Counts up.
    pub id: i64,
    /// The role: `champion`.
    pub alias: String,
    /// Who took it.
    pub version: Version,
    /// Why, in the words of whoever or whatever did it.
    pub why: String,
    /// When.
    pub deployed_at: DateTime<Utc>,
}

impl Store {
    /// Makes `version` the champion if `expected` still is (`None`: if there is none yet), and notifies the consumers.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where somebody else was quicker, [`StoreError::NoSuchModel`].
    pub async fn promote(&self, version: Version, why: &str, expected: Option<Version>) -> Result<(), StoreError> {
        todo!()
    }

    /// Makes the newest earlier champion that differs from the present one champion again, and returns it.
    ///
    /// # Errors
    /// [`StoreError::NothingToRollBackTo`].
    pub async fn rollback(&self, why: &str) -> Result<Version, StoreError> {
        todo!()
    }

    /// Every deployment, newest first.
    pub async fn deployments(&self) -> Result<Vec<Deployment>, StoreError> {
        todo!()
    }
}
