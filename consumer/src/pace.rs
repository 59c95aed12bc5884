//! How many tokens a batch should have.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How many tokens a batch should have, so that a forward pass is long enough to be efficient and short enough for a person to
/// wait for, for a drain to end in time and for a sign of life: found by doubling and halving.
pub(crate) struct Pace {
    tokens: AtomicUsize,
    max: usize,
    max_length: AtomicUsize,
}

impl Pace {
    /// Starts small and goes up to `max` tokens, for a model that truncates texts to `max_length` tokens.
    pub fn new(max: usize, max_length: usize) -> Self {
        Self { tokens: AtomicUsize::new(max.min(2_048)), max, max_length: AtomicUsize::new(max_length) }
    }

    /// Tokens for the next batch.
    pub fn tokens(&self) -> usize {
        self.tokens.load(Ordering::Relaxed)
    }

    /// Tokens that the model truncates a text to.
    pub fn max_length(&self) -> usize {
        self.max_length.load(Ordering::Relaxed)
    }

    /// Another model has taken over. Its pace is found from where the one before it was.
    pub fn set_max_length(&self, tokens: usize) {
        self.max_length.store(tokens, Ordering::Relaxed);
    }

    /// A batch of `tokens` took so long.
    pub fn learn(&self, tokens: usize, took: Duration) {
        self.tokens
            .store(next_pace(self.tokens(), tokens, took).clamp(MIN_PACE.min(self.max), self.max), Ordering::Relaxed);
    }
}

const MIN_PACE: usize = 256;

/// The pace after a batch of `tokens` took so long. A batch that was not full says nothing of a larger one.
fn next_pace(pace: usize, tokens: usize, took: Duration) -> usize {
    const SHORT: Duration = Duration::from_millis(250);
    const LONG: Duration = Duration::from_secs(1);
    if took > LONG {
        pace / 2
    } else if took < SHORT && tokens >= pace / 2 {
        pace * 2
    } else {
        pace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_grows_while_full_batches_are_quick_and_shrinks_when_they_are_slow() {
        let milliseconds = Duration::from_millis;
        assert_eq!(next_pace(2_048, 2_000, milliseconds(100)), 4_096);
        assert_eq!(next_pace(2_048, 100, milliseconds(1)), 2_048);
        assert_eq!(next_pace(2_048, 2_000, milliseconds(500)), 2_048);
        assert_eq!(next_pace(2_048, 2_000, milliseconds(1_500)), 1_024);
        let pace = Pace::new(1_000, 512);
        for _ in 0..20 {
            pace.learn(pace.tokens(), milliseconds(5_000));
        }
        assert_eq!(pace.tokens(), 256);
        for _ in 0..20 {
            pace.learn(pace.tokens(), milliseconds(1));
        }
        assert_eq!(pace.tokens(), 1_000);
    }
}
