//! Checkpoints that nobody will want are deleted: from the store, and from the cache here.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use store::Store;
use store::checkpoints::CheckpointStore;

/// Deletes what the registry gives free, and says how many that were.
///
/// The registry is told first, so that nobody promotes what is about to go; a deletion that fails
/// leaves files behind and nothing worse.
pub(super) async fn collect(
    store: &Store,
    checkpoints: &CheckpointStore,
    cache: &Path,
    keep: u32,
    in_use_within: Duration,
) -> Result<u64> {
    let mut deleted = 0;
    for model in store.collectable(keep, in_use_within).await? {
        let Some(lock) = store.mark_collected(model.version).await? else { continue };
        match checkpoints.delete(&model.uri).await {
            Ok(()) => deleted += 1,
            Err(error) => tracing::warn!(%error, uri = model.uri, "a collected checkpoint could not be deleted"),
        }
        lock.release().await?;
        if let Err(error) = checkpoints.forget(&model.uri, cache).await {
            tracing::warn!(%error, uri = model.uri, "a collected checkpoint stays in the cache");
        }
        tracing::info!(version = model.version.0, uri = model.uri, "checkpoint deleted");
    }
    Ok(deleted)
}
