//! How often one may ask: a bucket of requests for each browser, which fills up again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Buckets that are remembered: those that are full say nothing.
const MOST: usize = 10_000;

/// Requests a second, and how many may come at once.
pub struct Limit {
    per_second: f64,
    at_once: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Limit {
    pub fn new(per_second: f64, at_once: f64) -> Self {
        Self { per_second, at_once, buckets: Mutex::default() }
    }

    /// Takes one; else says when there will be one.
    pub fn take(&self, who: &str) -> Result<(), Duration> {
        self.take_at(who, Instant::now())
    }

    fn take_at(&self, who: &str, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().expect("a poisoned lock is a bug");
        if buckets.len() >= MOST && !buckets.contains_key(who) {
            buckets.retain(|_, bucket| self.left(bucket, now) < self.at_once);
            if buckets.len() >= MOST {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(who.to_owned()).or_insert(Bucket { left: self.at_once, at: now });
        *bucket = Bucket { left: self.left(bucket, now), at: now };
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / self.per_second));
        }
        bucket.left -= 1.0;
        Ok(())
    }

    fn left(&self, bucket: &Bucket, now: Instant) -> f64 {
        let filled = now.saturating_duration_since(bucket.at).as_secs_f64() * self.per_second;
        (bucket.left + filled).min(self.at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_by_requests_and_fills_by_time_and_others_have_their_own() {
        let (limit, start) = (Limit::new(2.0, 3.0), Instant::now());
        for _ in 0..3 {
            assert!(limit.take_at("ann", start).is_ok());
        }
        assert_eq!(limit.take_at("ann", start), Err(Duration::from_millis(500)));
        assert!(limit.take_at("bob", start).is_ok());
        let later = start + Duration::from_millis(500);
        assert!(limit.take_at("ann", later).is_ok() && limit.take_at("ann", later).is_err());
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..9).filter(|_| limit.take_at("ann", much_later).is_ok()).count(), 3);
    }

    #[test]
    fn those_who_ask_once_are_forgotten() {
        let (limit, start) = (Limit::new(1.0, 1.0), Instant::now());
        for number in 0..2 * MOST {
            let _ = limit.take_at(&number.to_string(), start);
        }
        assert!(limit.buckets.lock().unwrap().len() <= MOST);
    }
}
