//! `labelstream bench stream`: a topic that is full from the start, and the time until all of it is
//! in Postgres.

mod beside;
mod fill;
mod latency;
pub mod measure;
mod peer;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::ensure;
use classifier::DeviceChoice;
use serde_json::{Value, json};
use service::DatabaseArguments;
use service::broker::Cluster;
use store::Store;

use self::beside::Trainer;
use self::latency::Latency;
pub use self::latency::every;
use self::measure::{Measured, Run, Setup};
use crate::measure::percentile;
use crate::{engine, servers, texts};

/// Flags of `labelstream bench stream`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The checkpoint that classifies.
    #[arg(long, value_name = "DIR", required_unless_present = "constant")]
    checkpoint: Option<PathBuf>,

    /// No model, but the same answer to every text: measures everything around the model.
    #[arg(long, conflicts_with = "checkpoint")]
    constant: bool,

    /// A CSV with a column `text` or `review`.
    #[arg(long, value_name = "FILE.csv")]
    reviews: PathBuf,

    /// So many records; the file is started over where it is shorter.
    #[arg(long, default_value_t = 20_000)]
    count: usize,

    /// Partitions of the topic.
    #[arg(long, default_value_t = 4)]
    partitions: i32,

    /// Measure so many times, the peer after each; the medians are compared.
    #[arg(long, default_value_t = 1)]
    rounds: usize,

    /// A command that does the same work, to compare with. It finds BROKERS, TOPIC, DATABASE_URL
    /// and COUNT in its environment and prints a JSON object with `records_per_second` as its last
    /// line.
    #[arg(long, value_name = "COMMAND")]
    peer: Option<String>,

    /// Then measure as many rounds again while this command, a trainer, works on a round: what the
    /// stream loses by it. The command finds DATABASE_URL and CHECKPOINTS in its environment.
    #[arg(long, value_name = "COMMAND")]
    trainer: Option<String>,

    /// Then publish for so many seconds at half the measured rate, to measure how long a record
    /// takes.
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS")]
    latency_seconds: f64,

    /// Where the model runs: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,

    /// A flag for the consumer, as --consumer=--max-batch-tokens=65536; may be given several times.
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    consumer: Vec<String>,

    #[command(flatten)]
    servers: servers::ServerArguments,
}

/// Runs the command. What it does goes to standard error.
pub async fn run(arguments: Arguments) -> anyhow::Result<Value> {
    ensure!(arguments.count > 0 && arguments.rounds > 0, "there is nothing to measure: --count, --rounds");
    let file = rows::texts(&arguments.reviews)?;
    let texts = texts::spread(&file, Some(arguments.count))?;
    let servers = arguments.servers.clone();
    let servers = tokio::task::spawn_blocking(|| servers::Servers::start(servers)).await??;
    let store = DatabaseArguments::new(&*servers.database_url).open().await?;
    store.migrate().await?;
    let topic = format!("bench-{}", chrono::Utc::now().timestamp_millis());
    let cluster = Cluster::connect(&servers.kafka, Duration::from_secs(30)).await?;
    cluster.create_topic(&topic, arguments.partitions).await?;
    eprintln!("publishing {} records to {} partitions ...", texts.len(), arguments.partitions);
    fill::fill(&servers.kafka, &topic, &texts).await?;

    let files = tempfile::tempdir()?;
    let setup = Setup {
        topic: &topic,
        kafka: &servers.kafka,
        database_url: &servers.database_url,
        checkpoints: format!("file://{}", files.path().join("checkpoints").display()),
        cache: files.path().join("cache"),
        constant: arguments.constant,
        device: arguments.device,
        http: ([127, 0, 0, 1], 0).into(),
        flags: &arguments.consumer,
    };
    // Half of the texts before the stream and half after it: a machine that slows down slows both.
    let (before, after) = texts.split_at(texts.len() / 2);
    let mut engine = Alone::default();
    if let Some(checkpoint) = &arguments.checkpoint {
        let registered = service::register(&store, &setup.checkpoints, checkpoint).await?;
        service::promote_over_the_champion(&store, registered.model.version, "bench").await?;
        engine.add(checkpoint, arguments.device, before)?;
    }

    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        rounds.push(round(number, &arguments, &setup, &store, &texts).await?);
    }
    if let Some(checkpoint) = &arguments.checkpoint {
        engine.add(checkpoint, arguments.device, after)?;
    }
    let beside = match &arguments.trainer {
        Some(command) => Some(beside(command, arguments.rounds, &setup, &store, &texts).await?),
        None => None,
    };

    let rate = median(rounds.iter().map(|round| round.stream.records_per_second));
    let engine_rate = arguments.checkpoint.is_some().then(|| texts.len() as f64 / engine.seconds);
    // What a text is on average, times the texts a second.
    let a_second = |all: f64| engine_rate.map(|_| rate * all / texts.len() as f64);
    let peer_rate = arguments.peer.is_some().then(|| median(rounds.iter().filter_map(|round| peer::rate(&round.peer))));
    Ok(json!({
        "records": texts.len(), "partitions": arguments.partitions,
        "model": arguments.checkpoint.as_ref().map_or(json!("constant"), |checkpoint| json!(checkpoint)),
        "records_per_second": rate,
        "tokens_per_second": a_second(engine.tokens), "gflops": a_second(engine.operations / 1e9),
        "engine_precision": engine.precision,
        "measured": "from the first claim of a partition to the commit of the last row; median of the rounds",
        "engine_texts_per_second": engine_rate, "stream_over_engine": engine_rate.map(|engine| rate / engine),
        "peer_records_per_second": peer_rate, "stream_over_peer": peer_rate.map(|peer| rate / peer),
        "beside_trainer_records_per_second": beside, "beside_trainer_over_alone": beside.map(|beside| beside / rate),
        "rounds": rounds, "verified": "the rows in Postgres were counted after each round",
        "threads": engine::threads(), "device": arguments.device.to_string(),
        "postgres": store.server_version().await?, "version": env!("CARGO_PKG_VERSION"),
    }))
}

#[derive(serde::Serialize)]
struct Round {
    stream: Measured,
    /// Measured in the last round only: it adds records to the topic.
    latency: Option<Latency>,
    /// What the peer printed.
    peer: Value,
}

/// All records through a consumer with a group and a pipeline of its own, then through the peer.
async fn round(
    number: usize,
    arguments: &Arguments,
    setup: &Setup<'_>,
    store: &Store,
    texts: &[&str],
) -> anyhow::Result<Round> {
    let pipeline = format!("{}-{number}", setup.topic);
    let mut run = Run::start(setup, store, &pipeline)?;
    let stream = run.until(texts.len()).await?;
    eprintln!("round {number}: {:.0} records a second", stream.records_per_second);
    let mut latency = None;
    if number == arguments.rounds && arguments.latency_seconds > 0.0 {
        let rate = stream.records_per_second / 2.0;
        latency = Some(latency::measure(setup, &mut run, texts, rate, arguments.latency_seconds).await?);
    }
    run.stop().await?;
    verify(store, &pipeline, texts.len() + latency.as_ref().map_or(0, |latency| latency.records)).await?;
    let mut peer = Value::Null;
    if let Some(command) = &arguments.peer {
        peer = peer::run(command, setup, &format!("{pipeline}-peer"), texts.len()).await?;
        eprintln!("peer {number}: {:.0} records a second", peer::rate(&peer).unwrap_or_default());
    }
    Ok(Round { stream, latency, peer })
}

/// The median rate of rounds beside a trainer that trains.
async fn beside(command: &str, rounds: usize, setup: &Setup<'_>, store: &Store, texts: &[&str]) -> anyhow::Result<f64> {
    let mut trainer = Trainer::start(command, setup, store).await?;
    let mut rates = Vec::new();
    for number in 1..=rounds {
        let pipeline = format!("{}-beside-{number}", setup.topic);
        let mut run = Run::start(setup, store, &pipeline)?;
        let stream = run.until(texts.len()).await?;
        trainer.check()?;
        run.stop().await?;
        eprintln!("beside the trainer, round {number}: {:.0} records a second", stream.records_per_second);
        verify(store, &pipeline, texts.len()).await?;
        rates.push(stream.records_per_second);
    }
    Ok(median(rates.into_iter()))
}

/// The engine without a stream around it.
#[derive(Default)]
struct Alone {
    seconds: f64,
    tokens: f64,
    operations: f64,
    precision: Option<String>,
}

impl Alone {
    /// Some texts more.
    fn add(&mut self, checkpoint: &Path, device: DeviceChoice, texts: &[&str]) -> anyhow::Result<()> {
        tokio::task::block_in_place(|| {
            let classifier = engine::open(checkpoint, device)?;
            classifier.canary()?;
            let started = Instant::now();
            for batch in texts.chunks(1024) {
                classifier.classify(batch)?;
            }
            self.seconds += started.elapsed().as_secs_f64();
            let lengths = classifier.count_tokens(texts)?;
            self.tokens += lengths.iter().sum::<usize>() as f64;
            self.operations += classifier.operations(&lengths);
            self.precision = Some(classifier.precision().to_string());
            Ok(())
        })
    }
}

async fn verify(store: &Store, pipeline: &str, expected: usize) -> anyhow::Result<()> {
    let rows = store.count_predictions(pipeline).await?;
    ensure!(
        usize::try_from(rows) == Ok(expected),
        "{rows} rows stand in Postgres where {expected} records were published"
    );
    Ok(())
}

fn median(rates: impl Iterator<Item = f64>) -> f64 {
    let mut rates: Vec<f64> = rates.collect();
    rates.sort_by(f64::total_cmp);
    percentile(&rates, 0.5)
}
