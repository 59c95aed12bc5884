//! The right to work on a round, kept for as long as the work goes on.

use std::time::Duration;

use serde_json::{Value, json};
use store::{Outcome, RoundLease, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How often progress is written, at least: people look at it.
const REPORT: Duration = Duration::from_secs(2);

/// How far a round is, from whichever thread works on it to the row that people look at.
#[derive(Clone)]
pub(super) struct Reporter(watch::Sender<Value>);

impl Reporter {
    /// A part of the round begins.
    pub fn phase(&self, phase: &str) {
        tracing::info!("round: {phase}");
        self.0.send_replace(json!({ "phase": phase }));
    }

    /// A part of the round that has steps is so far.
    pub fn step(&self, phase: &str, step: usize, steps: usize, loss: f64) {
        self.0.send_replace(json!({ "phase": phase, "step": step, "steps": steps, "loss": loss }));
    }

    /// The last word, as the row holds it.
    pub fn last(&self) -> Value {
        self.0.borrow().clone()
    }
}

/// Extends the lease while it lives, on a task of its own.
pub(super) struct Keeper {
    /// What the round says of itself.
    pub reporter: Reporter,
    /// Cancelled when somebody else has taken the round over, and when the service ends.
    pub stop: CancellationToken,
    ends_with_it: DropGuard,
    task: JoinHandle<()>,
}

impl Keeper {
    pub fn start(store: Store, lease: RoundLease, length: Duration, shutdown: &CancellationToken) -> Self {
        let (sender, progress) = watch::channel(json!({ "phase": "beginning" }));
        let (stop, end) = (shutdown.child_token(), CancellationToken::new());
        let task = tokio::spawn(keep(store, lease, length, progress, [stop.clone(), end.clone()]));
        Self { reporter: Reporter(sender), stop, ends_with_it: end.drop_guard(), task }
    }

    /// Extends it no more: when this returns, nothing is on its way to Postgres that would.
    pub async fn end(self) {
        drop(self.ends_with_it);
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the task that extends the lease did not end well");
        }
    }
}

/// While Postgres is away the work goes on: if somebody else takes the round over meanwhile, its
/// epoch fences what is written.
async fn keep(
    store: Store,
    lease: RoundLease,
    length: Duration,
    mut progress: watch::Receiver<Value>,
    [stop, end]: [CancellationToken; 2],
) {
    loop {
        let told = progress.borrow_and_update().clone();
        match store.extend_lease(&lease, length, &told).await {
            Ok(Outcome::Written) => {}
            Ok(Outcome::Fenced) => return stop.cancel(),
            Err(error) => tracing::warn!(%error, round = lease.round, "the lease could not be extended"),
        }
        // Never in the middle of a statement, which Postgres would carry out all the same, whenever
        // it came to it.
        if end.run_until_cancelled(tokio::time::sleep(REPORT.min(length / 3))).await.is_none() {
            return;
        }
    }
}
