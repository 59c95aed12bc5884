//! Waiting for what is to come.

use std::time::{Duration, Instant};

/// How long anything may take that takes a second on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Asks until the answer is yes; fails the test, naming what it waited for, after [`PATIENCE`].
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    until_some(what, async || done().await.then_some(())).await;
}

/// The same until there is an answer, which it returns.
pub async fn until_some<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {} s in vain for {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
