//! Which checkpoints may be deleted.

use std::time::Duration;

use sqlx::Connection;

use crate::checkpoint_lock::CheckpointLock;
use crate::models::{Model, Version};
use crate::promote::{champion, lock_deployments};
use crate::{Store, StoreError};

impl Store {
    /// The models whose files nobody will want: candidates of rounds and former champions.
    ///
    /// Never the champion, nor the `keep` champions before it; nor what a consumer has reported, or
    /// was registered, within `in_use_within`; nor what a running round compares with, or shadows
    /// the champion; nor what a
    /// person registered and nobody has promoted yet.
    pub async fn collectable(&self, keep: u32, in_use_within: Duration) -> Result<Vec<Model>, StoreError> {
        self.run(async |connection| {
            Ok(sqlx::query_as(
                "with champions as (
                    select version, max(id) as last from deployments where alias = 'champion' group by version
                )
                select version, status, uri, manifest_sha256, labels, metrics, parent, round, created_at, collected_at
                from models
                where collected_at is null
                    and created_at < now() - make_interval(secs => $2)
                    and (round is not null or version in (select version from champions))
                    and version not in (select version from champions order by last desc limit $1 + 1)
                    and version not in (
                        select version from model_load_status where updated_at > now() - make_interval(secs => $2)
                    )
                    and not exists (
                        select from rounds where finished_at is null and rounds.champion = models.version
                    )
                    and not exists (select from shadows where stopped_at is null and shadows.version = models.version)
                order by version",
            )
            .bind(i64::from(keep))
            .bind(in_use_within.as_secs_f64())
            .fetch_all(connection)
            .await?)
        })
        .await
    }

    /// Notes that a model's files are about to be deleted, so that it is never promoted again, and
    /// returns the lock under which to delete them: whoever registers the same checkpoint meanwhile
    /// waits for it. `None`, and nothing noted, where it has become the champion meanwhile.
    pub async fn mark_collected(&self, version: Version) -> Result<Option<CheckpointLock>, StoreError> {
        let mut lock = self.lock_checkpoint(&self.model(version).await?.manifest_sha256).await?;
        let marked = self
            .run(async |connection| {
                let mut transaction = connection.begin().await?;
                lock_deployments(&mut transaction).await?;
                if champion(&mut transaction).await? == Some(version) {
                    return Ok(false);
                }
                let marked = sqlx::query("update models set collected_at = now() where version = $1").bind(version);
                if marked.execute(&mut *transaction).await?.rows_affected() == 0 {
                    return Err(StoreError::NoSuchModel(version));
                }
                transaction.commit().await?;
                Ok(true)
            })
            .await?;
        lock.still_held().await?;
        Ok(marked.then_some(lock))
    }
}
