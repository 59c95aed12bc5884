//! The stream as everybody sees it who watches now.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use service::KafkaArguments;
use service::broker::{self, Ends};
use store::{DeadReason, Deployment, EndToEnd, PartitionStatus, Store, StoreError};

use crate::config::Config;
use crate::fresh::Fresh;

/// A broker that takes longer is away: the rest is shown without it.
const PATIENCE: Duration = Duration::from_secs(3);
/// Deployments that are shown.
const DEPLOYMENTS: usize = 10;
/// Looks at the positions that the rate is told by.
const LOOKS: usize = 20;

/// What everybody who watches sees.
pub struct Live {
    pub partitions: Vec<PartitionStatus>,
    pub ends: Option<Arc<Result<Ends, String>>>,
    pub end_to_end: EndToEnd,
    pub dead: Vec<DeadReason>,
    pub rate: Option<f64>,
    pub deployments: Vec<Deployment>,
}

/// Where the positions stood, at the last few looks.
#[derive(Default)]
pub struct Rates(VecDeque<(Instant, i64)>);

impl Rates {
    /// Records a second since the look of a minute ago or so; `None` at the first look.
    fn look(&mut self, records: i64) -> Option<f64> {
        let now = Instant::now();
        if self.0.back().is_some_and(|(_, before)| *before > records) {
            // A database that was made anew.
            self.0.clear();
        }
        self.0.push_back((now, records));
        while self.0.len() > LOOKS || self.0.front().is_some_and(|(at, _)| at.elapsed().as_secs() > 120) {
            self.0.pop_front();
        }
        let (first, before) = self.0.front()?;
        let seconds = (now - *first).as_secs_f64();
        (seconds > 0.5).then(|| (records - before) as f64 / seconds)
    }
}

impl Live {
    /// Asks Postgres and, where that was not done lately, Kafka.
    pub async fn look(
        store: &Store,
        config: &Config,
        known_ends: &Fresh<Result<Ends, String>>,
        rates: &Mutex<Rates>,
    ) -> Result<Self, StoreError> {
        let pipeline = &config.pipeline;
        let partitions = store.partitions(pipeline).await?;
        let records = partitions.iter().map(|row| row.predictions + row.dead_letters + row.tombstones).sum();
        let rate = rates.lock().expect("a poisoned lock is a bug").look(records);
        let ends = match config.kafka() {
            Some(kafka) => {
                Some(known_ends.get(async || Ok::<_, StoreError>(look_at(&kafka, &partitions).await)).await?)
            }
            None => None,
        };
        Ok(Self {
            end_to_end: store.end_to_end(pipeline).await?,
            dead: store.dead_reasons(pipeline).await?,
            deployments: store.deployments().await?.into_iter().take(DEPLOYMENTS).collect(),
            partitions,
            ends,
            rate,
        })
    }

    pub fn lag_of(&self, partition: &PartitionStatus) -> Option<i64> {
        let ends = self.ends.as_deref()?.as_ref().ok()?;
        broker::end_of(partition, ends).map(|end| (end - partition.next_offset.0).max(0))
    }

    pub fn lag(&self) -> Option<i64> {
        let lags: Option<Vec<i64>> = self.partitions.iter().map(|partition| self.lag_of(partition)).collect();
        lags.filter(|lags| !lags.is_empty()).map(|lags| lags.iter().sum())
    }

    pub fn lag_unknown(&self) -> Option<&str> {
        self.ends.as_deref()?.as_ref().err().map(String::as_str)
    }

    /// When a position moved last.
    pub fn moved_at(&self) -> Option<DateTime<Utc>> {
        self.partitions.iter().map(|partition| partition.updated_at).max()
    }

    pub fn halted(&self) -> usize {
        self.partitions.iter().filter(|partition| partition.stands_still().is_some()).count()
    }
}

/// Where the partitions end, or why that is not known.
async fn look_at(kafka: &KafkaArguments, partitions: &[PartitionStatus]) -> Result<Ends, String> {
    match tokio::time::timeout(PATIENCE, broker::ends(kafka, partitions)).await {
        Ok(ends) => ends.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("no broker of {} has answered within {} s", kafka.brokers, PATIENCE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_told_by_two_looks_and_forgets_a_database_that_was_made_anew() {
        let mut rates = Rates::default();
        assert_eq!(rates.look(100), None);
        rates.0[0].0 -= std::time::Duration::from_secs(10);
        let rate = rates.look(600).unwrap();
        assert!((49.0..=50.0).contains(&rate), "{rate}");
        assert_eq!(rates.look(5), None);
    }
}
