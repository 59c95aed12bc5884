use std::time::Duration;

/// Delays that double up to a cap: how everything here waits for what is away.
#[derive(Debug)]
pub(crate) struct Backoff {
    delay: Duration,
    cap: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);

    /// Delays of 100 ms, 200 ms, and so on up to `cap`.
    pub fn new(cap: Duration) -> Self {
        Self { delay: Self::FIRST.min(cap), cap }
    }

    /// The next delay.
    pub fn next(&mut self) -> Duration {
        let delay = self.delay;
        self.delay = (delay * 2).min(self.cap);
        delay
    }

    /// Starts over: it went well.
    pub fn reset(&mut self) {
        self.delay = Self::FIRST.min(self.cap);
    }
}
