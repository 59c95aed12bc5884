//! Kafka to predictions in Postgres.
//!
//! The files, in reading order, are the way of a review: [`kafka`] polls and claims, [`message`] decodes, [`batch`] gathers,
//! [`inference`] classifies, [`persist`] writes. Stages are joined by channels of one batch, so a slow database is felt by Kafka
//! as paused partitions and never as memory.

mod config;
mod model;

pub use config::{Config, OnGap, Start};
pub use model::{Constant, Model, ModelSource};

use tokio_util::sync::CancellationToken;

/// Serves until `shutdown` is cancelled and everything in flight is written, or until something fails for good.
///
/// # Errors
/// What cannot be mended by waiting: a refused database login, a schema that is not migrated, a checkpoint that is missing or
/// damaged, an impossible setting; and a drain that took longer than `--grace`.
pub async fn run(
    config: Config,
    source: ModelSource,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let _ = (config, source, shutdown);
    todo!()
}
