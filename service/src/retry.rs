//! Waiting for what is away: one rule for what passes by itself, and delays that double up to a
//! cap.

use std::time::Duration;

use anyhow::{Result, bail};
use store::StoreError;
use store::checkpoints::CheckpointStoreError;
use tokio_util::sync::CancellationToken;

/// An error that may pass by itself.
pub trait Transient {
    /// Whether the same call may succeed later without anybody mending anything.
    fn is_transient(&self) -> bool;
}

impl Transient for StoreError {
    fn is_transient(&self) -> bool {
        StoreError::is_transient(self)
    }
}

impl Transient for CheckpointStoreError {
    fn is_transient(&self) -> bool {
        CheckpointStoreError::is_transient(self)
    }
}

/// As the error that it wraps.
impl Transient for anyhow::Error {
    fn is_transient(&self) -> bool {
        self.downcast_ref::<StoreError>().is_some_and(StoreError::is_transient)
            || self.downcast_ref::<CheckpointStoreError>().is_some_and(CheckpointStoreError::is_transient)
    }
}

/// Delays that double up to a cap.
#[derive(Debug)]
pub struct Backoff {
    delay: Duration,
    cap: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);

    /// Delays of 100 ms, 200 ms, and so on up to `cap`.
    pub fn new(cap: Duration) -> Self {
        Self { delay: Self::FIRST.min(cap), cap }
    }

    /// How long to wait this time.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.delay;
        self.delay = (delay * 2).min(self.cap);
        delay
    }

    /// Starts over: it went well.
    pub fn reset(&mut self) {
        self.delay = Self::FIRST.min(self.cap);
    }
}

/// The longest delay between two attempts at what Postgres or the checkpoint store should do.
const CAP: Duration = Duration::from_secs(5);

/// Tries until it works, fails for good, or nobody wants it any more. `what` is what is waited for:
/// "Postgres answers".
///
/// # Errors
/// An error that does not pass by itself; a cancelled `stop`.
pub async fn retry<T, E, F: Future<Output = Result<T, E>>>(
    what: &str,
    stop: &CancellationToken,
    mut attempt: impl FnMut() -> F,
) -> Result<T>
where
    E: Transient + std::error::Error + Send + Sync + 'static,
{
    let mut backoff = Backoff::new(CAP);
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if error.is_transient() => tracing::warn!(%error, "waiting until {what}"),
            Err(error) => return Err(anyhow::Error::new(error).context(format!("while waiting until {what}"))),
        }
        if stop.run_until_cancelled(tokio::time::sleep(backoff.next_delay())).await.is_none() {
            bail!("stopped while waiting until {what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(300));
        let delays = [100, 200, 300, 300].map(Duration::from_millis);
        assert_eq!([(); 4].map(|()| backoff.next_delay()), delays);
        backoff.reset();
        assert_eq!(backoff.next_delay(), delays[0]);
    }

    #[tokio::test]
    async fn what_passes_is_waited_for_and_what_does_not_is_an_error_at_once() {
        let stop = CancellationToken::new();
        let mut answers = vec![Ok(3), Err(StoreError::Unavailable("away".to_owned()))];
        assert_eq!(retry("it answers", &stop, || std::future::ready(answers.pop().unwrap())).await.unwrap(), 3);
        let refuse = async || Err::<(), _>(StoreError::Refused("no".to_owned()));
        let error = format!("{:#}", retry("it answers", &stop, refuse).await.unwrap_err());
        assert_eq!(error, "while waiting until it answers: Postgres refuses: no");
        stop.cancel();
        let away = async || Err::<(), _>(StoreError::Unavailable("away".to_owned()));
        assert!(retry("it answers", &stop, away).await.unwrap_err().to_string().contains("stopped while waiting"));
    }

    #[test]
    fn an_error_with_context_passes_as_the_error_inside_it_does() {
        let inside = |error: StoreError| anyhow::Error::new(error).context("asking").is_transient();
        assert!(inside(StoreError::Unavailable("away".to_owned())));
        assert!(!inside(StoreError::Refused("no".to_owned())));
    }
}
