//! What several people look at is asked for once: an answer that is good for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// An answer, and when it was given.
pub struct Fresh<T> {
    good_for: Duration,
    held: Mutex<Option<(Instant, Arc<T>)>>,
}

impl<T> Fresh<T> {
    pub fn new(good_for: Duration) -> Self {
        Self { good_for, held: Mutex::new(None) }
    }

    /// The answer, asked for again if it is too old. Who comes meanwhile waits for the same one.
    pub async fn get<E>(&self, ask: impl AsyncFnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let mut held = self.held.lock().await;
        if let Some((_, answer)) = held.as_ref().filter(|(at, _)| at.elapsed() < self.good_for) {
            return Ok(answer.clone());
        }
        let answer = Arc::new(ask().await?);
        *held = Some((Instant::now(), answer.clone()));
        Ok(answer)
    }

    /// It is asked for again, whoever comes next.
    pub async fn forget(&self) {
        *self.held.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn many_ask_once_and_an_error_is_not_kept() {
        let (fresh, asked) = (Fresh::new(Duration::from_secs(600)), AtomicUsize::new(0));
        let ask = async || Ok::<_, String>(asked.fetch_add(1, Ordering::Relaxed));
        assert_eq!(fresh.get(async || Err::<usize, _>("away".to_owned())).await, Err("away".to_owned()));
        assert_eq!(*fresh.get(ask).await.unwrap(), 0);
        assert_eq!(*fresh.get(ask).await.unwrap(), 0);
        fresh.forget().await;
        assert_eq!(*fresh.get(ask).await.unwrap(), 1);
    }
}
