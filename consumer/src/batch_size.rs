//! How many tokens the next batch should have: learned from how long the batches before took.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Tokens of a batch whose forward pass is long enough to be efficient, and short enough for a
/// person to wait for it, for a drain to end in time and for a sign of life. Found by doubling and
/// halving.
pub(crate) struct BatchSize {
    tokens: AtomicUsize,
    max: usize,
    max_length: AtomicUsize,
}

impl BatchSize {
    /// Starts small and goes up to `max` tokens, for a model that truncates texts to `max_length`
    /// tokens.
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

    /// Another model has taken over. Its batches start from the size that suited the one before it.
    pub fn set_max_length(&self, tokens: usize) {
        self.max_length.store(tokens, Ordering::Relaxed);
    }

    /// A batch of `tokens` took so long.
    pub fn learn(&self, tokens: usize, took: Duration) {
        let size = next_size(self.tokens(), tokens, took).clamp(SMALLEST.min(self.max), self.max);
        self.tokens.store(size, Ordering::Relaxed);
    }
}

const SMALLEST: usize = 256;

/// The size after a batch of `tokens` took so long. A batch that was not full says nothing of a
/// larger one.
fn next_size(size: usize, tokens: usize, took: Duration) -> usize {
    const SHORT: Duration = Duration::from_millis(250);
    const LONG: Duration = Duration::from_secs(1);
    if took > LONG {
        size / 2
    } else if took < SHORT && tokens >= size / 2 {
        size * 2
    } else {
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_while_full_ones_are_quick_and_shrink_when_they_are_slow() {
        let milliseconds = Duration::from_millis;
        assert_eq!(next_size(2_048, 2_000, milliseconds(100)), 4_096);
        assert_eq!(next_size(2_048, 100, milliseconds(1)), 2_048);
        assert_eq!(next_size(2_048, 2_000, milliseconds(500)), 2_048);
        assert_eq!(next_size(2_048, 2_000, milliseconds(1_500)), 1_024);
        let size = BatchSize::new(1_000, 512);
        for _ in 0..20 {
            size.learn(size.tokens(), milliseconds(5_000));
        }
        assert_eq!(size.tokens(), 256);
        for _ in 0..20 {
            size.learn(size.tokens(), milliseconds(1));
        }
        assert_eq!(size.tokens(), 1_000);
    }
}
