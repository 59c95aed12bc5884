//! The consumer in this process, from its first claim to the last row.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use classifier::DeviceChoice;
use consumer::{Constant, ModelSource};
use service::{CacheArguments, CheckpointArguments, DatabaseArguments, KafkaArguments};
use store::{Store, Version};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::measure::memory;

/// How often Postgres is asked how far the stream is when it is near its end: what the figures may
/// be late by.
const NEAR_THE_END: Duration = Duration::from_millis(20);
/// And before that: to be asked takes of the same processors.
const FAR_FROM_IT: Duration = Duration::from_millis(250);

/// What every round has in common.
pub struct Setup<'a> {
    /// Where the records are.
    pub topic: &'a str,
    /// The broker.
    pub kafka: &'a KafkaArguments,
    /// Where rows go.
    pub database_url: &'a str,
    /// The URL of the checkpoint store.
    pub checkpoints: String,
    /// Where the consumer keeps fetched checkpoints.
    pub cache: PathBuf,
    /// Serve a constant in place of a model.
    pub constant: bool,
    /// Where the model runs.
    pub device: DeviceChoice,
    /// Where the consumer answers; on port 0, wherever there is room.
    pub http: SocketAddr,
    /// More flags of the consumer.
    pub flags: &'a [String],
}

impl Setup<'_> {
    fn consumer(&self, pipeline: &str) -> anyhow::Result<consumer::Config> {
        let asked: consumer::Config = service::defaults(self.flags)?;
        let database = DatabaseArguments::new(self.database_url);
        Ok(consumer::Config {
            kafka: self.kafka.clone(),
            topic: self.topic.to_owned(),
            group: pipeline.to_owned(),
            database: DatabaseArguments { connections: asked.database.connections, ..database },
            checkpoints: CheckpointArguments { url: self.checkpoints.clone() },
            cache: CacheArguments { directory: Some(self.cache.clone()) },
            device: self.device,
            http: self.http,
            ..asked
        })
    }

    fn model(&self) -> ModelSource {
        if self.constant { ModelSource::fixed(|| Ok(Constant::new(Version(1)))) } else { ModelSource::Registry }
    }
}

/// A consumer at work.
pub struct Run<'a> {
    /// To look at what is written.
    pub store: &'a Store,
    /// Whose positions and rows.
    pub pipeline: String,
    stop: CancellationToken,
    consumer: JoinHandle<anyhow::Result<()>>,
}

/// What a run came to.
#[derive(serde::Serialize)]
pub struct Measured {
    /// The rate from the first claim to the last row.
    pub records_per_second: f64,
    /// How long that took.
    pub seconds: f64,
    /// Of the whole process, from the first to the last record: see [`Memory`].
    pub memory_mib: Option<Memory>,
}

/// Resident memory while the stream flows.
#[derive(serde::Serialize)]
pub struct Memory {
    /// After a tenth of the records.
    start: f64,
    /// After half of them.
    middle: f64,
    /// After all of them.
    end: f64,
    highest: f64,
}

impl<'a> Run<'a> {
    /// Starts a consumer of that pipeline, which is its group too.
    pub fn start(setup: &Setup, store: &'a Store, pipeline: &str) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let consumer = tokio::spawn(consumer::run(setup.consumer(pipeline)?, setup.model(), stop.clone()));
        Ok(Self { store, pipeline: pipeline.to_owned(), stop, consumer })
    }

    /// Waits until so many records are in Postgres.
    pub async fn until(&mut self, records: usize) -> anyhow::Result<Measured> {
        let mut claimed = None;
        let mut held: Vec<(usize, f64)> = Vec::new();
        loop {
            if self.consumer.is_finished() {
                (&mut self.consumer).await.context("the consumer")?.context("the consumer")?;
                bail!("the consumer ended before all records were in Postgres");
            }
            // The sum over no positions is none: nothing is claimed yet.
            let mut pause = NEAR_THE_END;
            if let Some(done) = self.store.progress(&self.pipeline).await? {
                let claimed = *claimed.get_or_insert_with(Instant::now);
                let done = usize::try_from(done)?;
                held.extend(memory().map(|(now, _)| (done, now)));
                if done >= records {
                    let seconds = claimed.elapsed().as_secs_f64();
                    let memory_mib = over_time(&held, records);
                    return Ok(Measured { records_per_second: records as f64 / seconds, seconds, memory_mib });
                }
                // Half of the time that the rest will take, as it looks now.
                let rest = (records - done) as f64 / done.max(1) as f64;
                pause = claimed.elapsed().mul_f64(rest / 2.0).clamp(NEAR_THE_END, FAR_FROM_IT);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Stops the consumer, which drains.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.consumer.await.context("the consumer")?.context("the consumer")
    }
}

fn over_time(held: &[(usize, f64)], records: usize) -> Option<Memory> {
    let after = |share: f64| held.iter().find(|(done, _)| *done as f64 >= share * records as f64).map(|(_, now)| *now);
    let highest = held.iter().map(|(_, now)| *now).reduce(f64::max)?;
    Some(Memory { start: after(0.1)?, middle: after(0.5)?, end: after(1.0)?, highest })
}
