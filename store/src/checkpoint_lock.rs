//! One at a time for the files of a checkpoint: whoever publishes and registers it, and whoever
//! marks it collected and deletes them. Otherwise the one finds the files there and uploads
//! nothing, the other deletes them, and a version without files could be promoted.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use crate::{Store, StoreError};

/// How often to ask again for what somebody else holds: uploads and deletions take seconds.
const AGAIN: Duration = Duration::from_millis(200);

/// Held until it is released or dropped, or until its connection breaks: then
/// [`still_held`](Self::still_held) says so.
#[derive(Debug)]
pub struct CheckpointLock {
    connection: PgConnection,
}

impl Store {
    /// Waits until nobody else publishes or deletes the checkpoint with this manifest.
    pub async fn lock_checkpoint(&self, manifest_sha256: &str) -> Result<CheckpointLock, StoreError> {
        // Of its own, because an upload takes longer than a connection of the pool may be kept.
        let mut connection = self.open_unlimited().await?;
        let lock = "select pg_try_advisory_lock(hashtextextended('labelstream checkpoint ' || $1, 0))";
        while !sqlx::query_scalar::<_, bool>(lock).bind(manifest_sha256).fetch_one(&mut connection).await? {
            tokio::time::sleep(AGAIN).await;
        }
        Ok(CheckpointLock { connection })
    }
}

impl CheckpointLock {
    /// Fails where the connection that holds it has broken.
    pub async fn still_held(&mut self) -> Result<(), StoreError> {
        Ok(self.connection.ping().await?)
    }

    /// Lets the next one.
    pub async fn release(self) -> Result<(), StoreError> {
        Ok(self.connection.close().await?)
    }
}
