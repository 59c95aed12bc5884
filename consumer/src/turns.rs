//! Whose turn it is on the inference thread, the stream's or that of `/predict`: pure, the times
//! are the caller's.

use std::time::Duration;

/// Keeps `/predict` to its share of the thread's time while the stream has work, whatever the sizes
/// of batches and requests. While one of them has nothing to do, the other has everything.
pub(crate) struct Turns {
    /// Seconds that `/predict` earns for each second of the stream.
    ratio: f64,
    /// Seconds that `/predict` has left of its share, or, below 0, has taken beyond it.
    credit: f64,
}

/// What is owed is forgotten beyond so much: who waits now shall not pay for long ago.
const MOST: Duration = Duration::from_secs(2);

impl Turns {
    /// With a share above 0 and below 1.
    pub fn new(share: f64) -> Self {
        Self { ratio: share / (1.0 - share), credit: 0.0 }
    }

    /// Whether `/predict` comes first.
    pub fn predict_is_next(&self) -> bool {
        self.credit >= 0.0
    }

    /// Requests took so long; what costs the stream nothing is free.
    pub fn predicted(&mut self, took: Duration, stream_waits: bool) {
        if stream_waits {
            self.credit = (self.credit - took.as_secs_f64()).max(-took.max(MOST).as_secs_f64());
        }
    }

    /// A batch of the stream took so long. Time is earned for those who wait, not for later ones.
    pub fn streamed(&mut self, took: Duration, requests_wait: bool) {
        let earned = took.as_secs_f64() * self.ratio;
        let most = if requests_wait { earned.max(MOST.as_secs_f64()) } else { 0.0 };
        self.credit = (self.credit + earned).min(most);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The stream's share of the time where both always have work.
    fn stream_share(share: f64, batch: Duration, requests: Duration) -> f64 {
        let mut turns = Turns::new(share);
        let (mut stream, mut predict) = (Duration::ZERO, Duration::ZERO);
        while stream + predict < 200 * (batch + requests) {
            if turns.predict_is_next() {
                predict += requests;
                turns.predicted(requests, true);
            } else {
                stream += batch;
                turns.streamed(batch, true);
            }
        }
        stream.as_secs_f64() / (stream + predict).as_secs_f64()
    }

    proptest! {
        #[test]
        fn the_stream_has_its_share_whatever_the_sizes(
            share in 0.1..0.9_f64,
            batch in 1..1_000_u64,
            requests in 1..1_000_u64,
        ) {
            let stream = stream_share(share, Duration::from_millis(batch), Duration::from_millis(requests));
            prop_assert!((stream - (1.0 - share)).abs() < 0.06, "{stream} of {}", 1.0 - share);
        }
    }

    #[test]
    fn what_nobody_waits_for_costs_nothing() {
        let second = Duration::from_secs(1);
        let mut turns = Turns::new(0.5);
        turns.predicted(second, false);
        assert!(turns.predict_is_next(), "the stream had nothing to do");
        for _ in 0..10 {
            turns.streamed(second, false);
        }
        assert!(turns.predict_is_next(), "who comes at last waits for no more than the batch");
        turns.predicted(second / 10, true);
        assert!(!turns.predict_is_next(), "nothing was saved up");
    }

    #[test]
    fn what_is_owed_is_paid_within_seconds() {
        let mut turns = Turns::new(0.5);
        for _ in 0..1_000 {
            turns.predicted(Duration::from_secs(1), true);
        }
        turns.streamed(Duration::from_secs(1), true);
        assert!(!turns.predict_is_next());
        turns.streamed(Duration::from_secs(1), true);
        assert!(turns.predict_is_next());
    }
}
