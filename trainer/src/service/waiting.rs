//! Waiting for what is away: delays that double up to a cap.

use std::time::Duration;

use anyhow::{Result, bail};
use store::StoreError;
use store::checkpoints::CheckpointStoreError;
use tokio_util::sync::CancellationToken;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// An error that may pass by itself.
pub(super) trait Passing: std::error::Error + Send + Sync + 'static {
    /// Whether waiting helps.
    fn passes(&self) -> bool;
}

impl Passing for StoreError {
    fn passes(&self) -> bool {
        self.is_transient()
    }
}

impl Passing for CheckpointStoreError {
    fn passes(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

/// Tries until it works, fails for good, or nobody wants it any more.
pub(super) async fn patiently<T, E: Passing>(
    what: &str,
    stop: &CancellationToken,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    let mut delay = FIRST;
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if error.passes() => tracing::warn!(%error, "waiting: {what}"),
            Err(error) => return Err(anyhow::Error::new(error).context(what.to_owned())),
        }
        if stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
            bail!("stopped while waiting: {what}");
        }
        delay = (delay * 2).min(LONGEST);
    }
}
