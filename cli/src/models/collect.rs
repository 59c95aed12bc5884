//! Deletes the files of versions that nobody will serve again. Their rows stay, and what was
//! measured of them.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use service::duration::seconds;
use store::checkpoints::CheckpointStore;
use store::{Model, Store, Version};

use crate::print;

/// Which versions.
#[derive(clap::Args)]
pub struct Arguments {
    /// Keep the files of this many former champions, to roll back to.
    #[arg(long, alias = "keep", env = "LABELSTREAM_KEEP_CHECKPOINTS", default_value_t = 5)]
    keep_checkpoints: u32,

    /// Keep what was registered, or reported by a consumer, within this many seconds.
    #[arg(long, env = "LABELSTREAM_KEEP_FOR", default_value = "3600", value_parser = seconds, value_name = "SECONDS")]
    keep_for: Duration,

    /// Only say what would be deleted.
    #[arg(long)]
    dry_run: bool,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Deletes them, and says which.
pub async fn collect(store: &Store, checkpoints: &str, arguments: &Arguments) -> anyhow::Result<()> {
    let checkpoints = CheckpointStore::open(checkpoints)?;
    let mut versions = Vec::new();
    for model in store.collectable(arguments.keep_checkpoints, arguments.keep_for).await? {
        let delete = async || delete(store, &checkpoints, &model).await;
        if arguments.dry_run || delete().await.with_context(|| format!("version {}", model.version))? {
            versions.push(model.version);
        }
    }
    if arguments.json {
        return print::json(&json!({"versions": versions, "deleted": !arguments.dry_run}));
    }
    let versions: Vec<_> = versions.iter().map(Version::to_string).collect();
    match (versions.is_empty(), arguments.dry_run) {
        (true, _) => println!("no version can be collected"),
        (false, true) => println!("would delete the files of the versions {}", versions.join(", ")),
        (false, false) => println!("deleted the files of the versions {}", versions.join(", ")),
    }
    Ok(())
}

/// The mark first, so that nobody promotes a version whose files are going; false for one that was
/// promoted just now.
async fn delete(store: &Store, checkpoints: &CheckpointStore, model: &Model) -> anyhow::Result<bool> {
    let Some(lock) = store.mark_collected(model.version).await? else { return Ok(false) };
    checkpoints.delete(&model.uri).await?;
    lock.release().await?;
    Ok(true)
}
