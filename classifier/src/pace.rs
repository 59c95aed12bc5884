//! How fast a model is on this machine, about.

use std::time::{Duration, Instant};

use candle_core::Result;

use crate::Classifier;

/// Long enough to tell 100 texts a second from 200, short enough for nobody to wait.
const LONGEST: Duration = Duration::from_millis(200);

/// Texts of a call, as a consumer has them.
const TEXTS: usize = 64;

impl Classifier {
    /// Texts a second: reviews of about 25 characters, all of them different.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn measure_pace(&self) -> Result<f64> {
        let start = Instant::now();
        let mut done = 0;
        while done == 0 || start.elapsed() < LONGEST {
            let text = |number: usize| format!("送餐很快，味道也不错，第{number}次来了，下次还会再来的。");
            self.classify(&(done..done + TEXTS).map(text).collect::<Vec<_>>())?;
            done += TEXTS;
        }
        Ok(done as f64 / start.elapsed().as_secs_f64())
    }
}
