//! A trainer that works on a round on the same machine.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use store::Store;
use tokio::process::{Child, Command};

use super::measure::Setup;

/// A trainer has so long to begin with its steps.
const PATIENCE: Duration = Duration::from_secs(120);

/// A trainer in the middle of a round. Dropping it kills it.
pub struct Trainer(Child);

impl Trainer {
    /// Starts the command, and waits until the round takes steps.
    pub async fn start(command: &str, setup: &Setup<'_>, store: &Store) -> anyhow::Result<Self> {
        let child = Command::new("sh")
            .args(["-c", command])
            .env("DATABASE_URL", setup.database_url)
            .env("CHECKPOINTS", &setup.checkpoints)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .context("the trainer cannot be started")?;
        let mut trainer = Self(child);
        let deadline = Instant::now() + PATIENCE;
        while !takes_steps(store).await? {
            trainer.check()?;
            ensure!(Instant::now() < deadline, "the trainer has not begun with its steps after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(trainer)
    }

    /// An error if the round has ended: what was measured was not beside it.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let ended = self.0.try_wait()?;
        ensure!(ended.is_none(), "the trainer ended before the measurement: give it more to learn");
        Ok(())
    }
}

async fn takes_steps(store: &Store) -> anyhow::Result<bool> {
    let progress = store.last_round().await?.and_then(|round| round.progress);
    Ok(progress.is_some_and(|progress| progress["step"].as_u64().is_some()))
}
