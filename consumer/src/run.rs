//! The order in which things start, and in which they end.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use service::http::Server;
use service::{owner, retry, thread};
use store::checkpoints::CheckpointStore;
use store::{Store, StoreError, Stream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::batch::Limits;
use crate::batch_sender::{self, BatchSender};
use crate::batch_size::BatchSize;
use crate::careful::Careful;
use crate::config::Config;
use crate::health::Health;
use crate::http::{self, Service};
use crate::in_flight::InFlight;
use crate::inference::{Channels, Handover, Inference, Signs};
use crate::kafka::{self, Claims, Kafka, Reading, Settings, Stop, Words};
use crate::load::Loader;
use crate::message::Format;
use crate::metrics::Metrics;
use crate::model::{Model, ModelSource};
use crate::persist::{self, Positions, Writer};
use crate::predict::{self, PredictJob};
use crate::reload::{Follower, Registry};
use crate::shadow::{Offers, Shadowing};
use crate::tokenize::tokenize;

/// Bytes of records in one batch: small beside what may be in flight.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// Batches between the thread that tokenizes and the one that classifies: one is ready when the
/// model is.
const TOKENIZED_CAPACITY: usize = 1;
/// Labeled batches between inference and the lanes: one is enough to keep both busy.
const LABELED_CAPACITY: usize = 1;
/// Models on their way to the inference thread: the next one is loaded only when this one has taken
/// over.
const HANDOVER_CAPACITY: usize = 1;
/// How often the database is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long leaving the group may take at the end.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves until `shutdown` is cancelled and everything in flight is written, or until something
/// fails for good.
///
/// # Errors
/// What cannot be mended by waiting: a refused database login, a schema that is not migrated, a
/// checkpoint that is missing or damaged, an impossible setting; and a drain that took longer than
/// `--grace`.
pub async fn run(config: Config, source: ModelSource, shutdown: CancellationToken) -> Result<()> {
    // What is wrong with the settings is said before anything is waited for.
    let settings = Settings::new(&config)?;
    let checkpoints = config.checkpoints.open()?;
    config.cache.path()?;
    let server = Server::bind(config.http, &config.access)?;
    tracing::info!(address = %server.address()?, "http: /health/live, /health/ready, /metrics, /predict, /info, /docs");

    let (predict, predict_jobs) = predict::Queue::new();
    let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::new()));
    let max_pass_tokens = config.max_batch_tokens / 2;
    let service = Service { predict, metrics: metrics.clone(), health: health.clone(), max_pass_tokens };
    let abort = CancellationToken::new();
    let _abort_at_the_end = abort.clone().drop_guard();
    let stop = Stop { shutdown, drained: CancellationToken::new(), abort };
    let consumer = Consumer { config, settings, checkpoints, metrics, health, stop };
    server.serve_during(http::router(service), consumer.serve(source, predict_jobs)).await
}

struct Consumer {
    config: Config,
    settings: Settings,
    checkpoints: CheckpointStore,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    stop: Stop,
}

impl Consumer {
    async fn serve(self, source: ModelSource, predict: mpsc::Receiver<PredictJob>) -> Result<()> {
        let shutdown = self.stop.shutdown.clone();
        let ready = tokio::select! {
            ready = self.prepare(source) => ready?,
            () = shutdown.cancelled() => None,
        };
        let Some(ready) = ready else { return Ok(()) };
        self.flow(ready, predict).await
    }

    /// Everything that must be there before the first record is read.
    async fn prepare(&self, source: ModelSource) -> Result<Option<Ready>> {
        // Before anything can come in the way of its directory.
        let loader = self.loader()?;
        let store = self.connect().await?;
        tokio::spawn(ping(store.clone(), self.health.clone(), self.metrics.clone(), self.stop.abort.clone()));
        let (model, models) = self.model(source, &store).await?;
        self.metrics.serves(model.version(), &self.config.device.to_string());
        let version = model.version().0;
        tracing::info!(version, labels = ?model.classes().names(), device = %self.config.device, "the model is ready");
        let Some(stream) = self.find_stream().await? else {
            return Ok(None);
        };
        tracing::info!(
            topic = stream.topic,
            group = self.config.group,
            pipeline = stream.pipeline,
            cluster = stream.cluster_id,
            "joining the group"
        );
        Ok(Some(Ready { store, loader, model, models, stream }))
    }

    async fn connect(&self) -> Result<Store> {
        let Self { config, health, stop, .. } = self;
        let fails = |error: &StoreError| {
            health.database.fails(error.to_string());
        };
        let open = || async { config.database.open().await.inspect_err(fails) };
        let store = retry("Postgres answers", &stop.abort, open).await?;
        let check = || async { store.check_schema().await.inspect_err(fails) };
        retry("Postgres answers", &stop.abort, check).await?;
        health.database.works();
        tracing::info!("connected to Postgres");
        Ok(store)
    }

    /// The model to begin with, and where those that take over from it come from.
    async fn model(&self, source: ModelSource, store: &Store) -> Result<(Box<dyn Model>, mpsc::Receiver<Handover>)> {
        let (handover, models) = mpsc::channel(HANDOVER_CAPACITY);
        let model: Box<dyn Model> = match source {
            ModelSource::Registry => {
                let registry = self.registry(store.clone())?;
                let (champion, registered) = registry.first().await?;
                let model = registry.serving(champion);
                let follower = Follower::new(registry, handover, self.config.reload_interval, registered);
                tokio::spawn(self.stop.abort.clone().run_until_cancelled_owned(follower.follow()));
                model
            }
            ModelSource::Fixed(make) => tokio::task::spawn_blocking(make).await.context("the model panicked")??,
        };
        Ok((model, models))
    }

    fn loader(&self) -> Result<Loader> {
        Ok(Loader {
            checkpoints: self.checkpoints.clone(),
            cache: self.config.cache.path()?,
            device: self.config.device,
            precision: self.config.precision,
            health: self.health.clone(),
        })
    }

    fn registry(&self, store: Store) -> Result<Registry> {
        let loader = self.loader()?;
        let pipeline = self.config.pipeline().to_owned();
        Ok(Registry {
            store,
            loader,
            consumer: owner(),
            pipeline,
            metrics: self.metrics.clone(),
            recent_texts: self.config.recent_texts,
        })
    }

    async fn find_stream(&self) -> Result<Option<Stream>> {
        let wanted = Stream {
            pipeline: self.config.pipeline().to_owned(),
            cluster_id: String::new(),
            topic: self.config.topic.clone(),
        };
        let (settings, health, shutdown) = (self.settings.clone(), self.health.clone(), self.stop.shutdown.clone());
        tokio::task::spawn_blocking(move || kafka::find_stream(&settings, wanted, &health, &shutdown))
            .await
            .context("looking for the topic panicked")?
    }

    /// Starts the stages, sink first, and ends with the first of them, or in order when it is told
    /// to.
    async fn flow(self, ready: Ready, predict: mpsc::Receiver<PredictJob>) -> Result<()> {
        let Self { config, settings, metrics, health, stop, .. } = self;
        let Ready { store, loader, model, models, stream } = ready;
        let (to_write, labeled) = mpsc::channel(LABELED_CAPACITY);
        let (sender, batches) = mpsc::channel(batch_sender::CAPACITY);
        let (fences, fenced) = std::sync::mpsc::channel();
        let positions = Arc::new(Positions::default());
        let in_flight = InFlight::new(config.max_in_flight_bytes, metrics.in_flight_bytes.clone());
        let careful =
            Careful::new(store.clone(), stream.clone(), positions.clone(), fences.clone(), stop.abort.clone());
        let careful = Arc::new(careful);
        let words = Words::new(store.clone(), stream.clone(), &Handle::current());
        let batch_size = Arc::new(BatchSize::new(config.max_batch_tokens, model.max_length()));

        let offers = Arc::new(Offers::default());
        let shadowing = Shadowing {
            store: store.clone(),
            stream: stream.clone(),
            loader,
            offers: offers.clone(),
            metrics: metrics.clone(),
            interval: config.reload_interval,
        };
        tokio::spawn(stop.abort.clone().run_until_cancelled_owned(shadowing.follow()));
        let writer = Writer {
            store: store.clone(),
            stream: stream.clone(),
            positions: positions.clone(),
            fenced: fences,
            metrics: metrics.clone(),
            health: health.clone(),
            offers: offers.clone(),
        };
        let reading = Reading {
            format: Format::of(&config),
            limits: limits(&config),
            batch_size: batch_size.clone(),
            in_flight: in_flight.clone(),
        };
        let (tokenized, batches_to_label) = mpsc::channel(TOKENIZED_CAPACITY);
        let (serves, serving) = watch::channel(model.encoder());
        let channels =
            Channels { batches: batches_to_label, predict, models, labeled: to_write, abort: stop.abort.clone() };
        let signs = Signs { metrics: metrics.clone(), health: health.clone(), batch_size, serves };
        let claims = Arc::new(Claims {
            store,
            stream,
            careful: careful.clone(),
            owner: owner(),
            start: config.start,
            on_gap: config.on_gap,
            runtime: Handle::current(),
            positions,
            metrics,
            health,
            begun: OnceLock::new(),
            first_answer: OnceLock::new(),
            awaiting: Arc::default(),
            words,
        });
        let kafka = Kafka {
            settings,
            claims,
            reading,
            output: BatchSender::new(sender, in_flight),
            fenced,
            stop: stop.clone(),
        };

        let left = CancellationToken::new();
        let leaving = left.clone().drop_guard();
        let runtime = Handle::current();
        let kafka = thread("kafka", None, move || {
            let ended = kafka.run(&runtime);
            drop(leaving);
            ended
        })?;
        let runtime = Handle::current();
        let trying = careful.clone();
        let tokenizing = thread("tokenize", None, move || {
            tokenize(batches, serving, &tokenized, async |section| trying.attempt(section).await, &runtime);
            Ok(())
        })?;
        let runtime = Handle::current();
        let inference = thread("inference", None, move || {
            Inference::new(model, channels, signs, config.predict_share)?.run(&runtime);
            Ok(())
        })?;
        // Ends with its future, unlike a task.
        let persist = persist::persist(labeled, writer);

        let inference = async { tokio::try_join!(tokenizing, inference).map(drop) };
        let ended = end_in_order(kafka, inference, persist, &stop, config.grace).await;
        stop.abort.cancel();
        // A consumer that says goodbye leaves its partitions to the others at once.
        let goodbye = async { tokio::join!(left.cancelled(), careful.say_goodbye(None)) };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        ended
    }
}

/// What [`Consumer::prepare`] has found.
struct Ready {
    store: Store,
    /// What loads challengers.
    loader: Loader,
    model: Box<dyn Model>,
    models: mpsc::Receiver<Handover>,
    stream: Stream,
}

/// Each stage ends after the one before it has nothing more to give; the first to fail ends all;
/// none takes longer than the grace.
async fn end_in_order(
    kafka: impl Future<Output = Result<()>>,
    inference: impl Future<Output = Result<()>>,
    persist: impl Future<Output = Result<()>>,
    stop: &Stop,
    grace: Duration,
) -> Result<()> {
    let written = async {
        persist.await?;
        stop.drained.cancel();
        Ok(())
    };
    let overdue = async {
        stop.shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        ended = async { tokio::try_join!(inference, written, kafka) } => {
            ended?;
            ensure!(stop.shutdown.is_cancelled(), "the stages ended without being told to, which is a bug");
            tracing::info!("drained: everything that was read is written");
            Ok(())
        }
        () = overdue => {
            if stop.drained.is_cancelled() {
                tracing::warn!("everything that was read is written; left without a goodbye to Kafka, which does not answer");
                return Ok(());
            }
            bail!("not drained within {} s: what was in flight will be read again", grace.as_secs_f32())
        }
    }
}

async fn ping(store: Store, health: Arc<Health>, metrics: Arc<Metrics>, abort: CancellationToken) {
    while abort.run_until_cancelled(tokio::time::sleep(PING_INTERVAL)).await.is_some() {
        match store.ping().await {
            Ok(()) => {
                if health.database.works() {
                    tracing::info!("Postgres answers again");
                }
            }
            Err(error) => {
                if health.database.fails(error.to_string()) {
                    tracing::warn!(%error, "Postgres does not answer");
                }
            }
        }
        metrics.alarm();
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        tokens: config.max_batch_tokens,
        records: config.max_batch_reviews,
        bytes: MAX_BATCH_BYTES,
        delay: Duration::from_millis(config.max_batch_delay_ms),
    }
}
