//! `bench swap`: how long a record takes while the champion changes, beside how long it takes
//! otherwise.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use bench::measure::percentile;
use bench::servers;
use bench::stream::every;
use bench::stream::measure::{Run, Setup};
use bench::texts::record;
use chrono::{DateTime, TimeDelta, Utc};
use classifier::DeviceChoice;
use serde_json::json;
use service::DatabaseArguments;
use service::broker::{Cluster, Publisher};
use store::{LoadStatus, NextOffset, Store, Version};

/// Flags of `bench swap`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The checkpoint that serves first.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,

    /// The one that takes over, and gives way again.
    #[arg(long, value_name = "DIR")]
    other: PathBuf,

    /// A CSV with a column `text` or `review`.
    #[arg(long, value_name = "FILE.csv")]
    reviews: PathBuf,

    /// Records a second; well below what the stream can keep, else it is the queue that is
    /// measured.
    #[arg(long, default_value_t = 200.0)]
    rate: f64,

    /// How often the champion changes.
    #[arg(long, default_value_t = 6)]
    swaps: usize,

    /// Seconds before the first change, between two, and after the last.
    #[arg(long, default_value_t = 8.0, value_name = "SECONDS")]
    pause: f64,

    /// Partitions of the topic.
    #[arg(long, default_value_t = 4)]
    partitions: i32,

    /// Where the model runs: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,

    /// A flag for the consumer, as --consumer=--reload-interval=60; may be given several times.
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    consumer: Vec<String>,

    #[command(flatten)]
    servers: servers::ServerArguments,
}

/// From a promotion to a second after the new version has taken over.
struct Change {
    from: DateTime<Utc>,
    served: DateTime<Utc>,
}

/// What counts as during a change, after it: what had piled up, if anything had, is worked off by
/// then.
const AFTERWARDS: TimeDelta = TimeDelta::seconds(1);

/// Runs the command. What it does goes to standard error, the result to standard output.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    ensure!(arguments.swaps > 0 && arguments.pause >= 2.0, "there is nothing to measure: --swaps, --pause");
    let texts = rows::texts(&arguments.reviews)?;
    let servers = arguments.servers.clone();
    let servers = tokio::task::spawn_blocking(|| servers::Servers::start(servers)).await??;
    let store = DatabaseArguments::new(&*servers.database_url).open().await?;
    store.migrate().await?;
    let topic = format!("bench-{}", Utc::now().timestamp_millis());
    let cluster = Cluster::connect(&servers.kafka, Duration::from_secs(30)).await?;
    cluster.create_topic(&topic, arguments.partitions).await?;

    let files = tempfile::tempdir()?;
    let setup = Setup {
        topic: &topic,
        kafka: &servers.kafka,
        database_url: &servers.database_url,
        checkpoints: format!("file://{}", files.path().join("checkpoints").display()),
        cache: files.path().join("cache"),
        constant: false,
        device: arguments.device,
        http: ([127, 0, 0, 1], 0).into(),
        flags: &arguments.consumer,
    };
    let mut versions = Vec::new();
    for checkpoint in [&arguments.checkpoint, &arguments.other] {
        versions.push(service::register(&store, &setup.checkpoints, checkpoint).await?.model.version);
    }
    ensure!(versions[0] != versions[1], "--checkpoint and --other are the same");
    let mut run = Run::start(&setup, &store, &topic)?;
    change(&store, versions[0]).await?;

    let seconds = arguments.pause * (arguments.swaps + 1) as f64;
    eprintln!("{} records a second for {seconds} s ...", arguments.rate);
    let records = (arguments.rate * seconds) as usize;
    let started = Utc::now();
    let (changes, ()) = tokio::try_join!(
        change_again_and_again(&store, &versions, &arguments),
        publish(&setup, &texts, arguments.rate, records)
    )?;
    run.until(records).await?;
    run.stop().await?;

    let settled = started + TimeDelta::milliseconds((arguments.pause * 500.0) as i64);
    let (mut during, mut otherwise) = (Vec::new(), Vec::new());
    for (published, milliseconds) in latencies(&store, &topic).await? {
        let within = |change: &Change| change.from <= published && published <= change.served + AFTERWARDS;
        match changes.iter().any(within) {
            true => during.push(milliseconds),
            false if published >= settled => otherwise.push(milliseconds),
            false => {}
        }
    }
    let taken = changes.iter().map(|change| (change.served - change.from).as_seconds_f64());
    let [during_p99, otherwise_p99] = [p99(&mut during), p99(&mut otherwise)];
    let figures = json!({
        "records": records, "records_per_second": arguments.rate, "swaps": changes.len(),
        "seconds_from_promotion_to_serving": taken.collect::<Vec<_>>(),
        "measured": "from a record's timestamp to the time that Postgres wrote beside its row, in milliseconds; during a \
            change is from its promotion to a second after the new version serves",
        "during": {"records": during.len(), "p50": percentile(&during, 0.5), "p99": during_p99},
        "otherwise": {"records": otherwise.len(), "p50": percentile(&otherwise, 0.5), "p99": otherwise_p99},
        "p99_during_over_otherwise": during_p99 / otherwise_p99,
        "device": arguments.device.to_string(), "version": env!("CARGO_PKG_VERSION"),
    });
    println!("{figures}");
    Ok(())
}

async fn publish(setup: &Setup<'_>, texts: &[String], rate: f64, records: usize) -> anyhow::Result<()> {
    let publisher = Publisher::open(setup.kafka)?;
    let mut due = every(rate);
    for (number, text) in texts.iter().cycle().take(records).enumerate() {
        due.tick().await;
        publisher.send(setup.topic, &record(&format!("bench-{number}"), text), number).await;
    }
    match publisher.finish().await.first() {
        Some((_, why)) => bail!("a record could not be published: {why}"),
        None => Ok(()),
    }
}

async fn change_again_and_again(
    store: &Store,
    versions: &[Version],
    arguments: &Arguments,
) -> anyhow::Result<Vec<Change>> {
    let mut changes = Vec::new();
    for number in 1..=arguments.swaps {
        tokio::time::sleep(Duration::from_secs_f64(arguments.pause)).await;
        changes.push(change(store, versions[number % versions.len()]).await?);
    }
    tokio::time::sleep(Duration::from_secs_f64(arguments.pause)).await;
    Ok(changes)
}

/// Promotes a version and waits until the consumer says that it serves.
async fn change(store: &Store, version: Version) -> anyhow::Result<Change> {
    let from = Utc::now();
    service::promote_over_the_champion(store, version, "bench").await?;
    loop {
        for report in store.load_reports().await?.into_iter().filter(|report| report.version == version) {
            match report.status {
                LoadStatus::Serving => return Ok(Change { from, served: Utc::now() }),
                LoadStatus::Refused => bail!("version {version} is refused: {}", report.reason.unwrap_or_default()),
                LoadStatus::Loading => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// When each record was published, and how many milliseconds later its row was written.
async fn latencies(store: &Store, pipeline: &str) -> anyhow::Result<Vec<(DateTime<Utc>, f64)>> {
    let mut latencies = Vec::new();
    for partition in store.status(pipeline).await?.partitions {
        let mut from = NextOffset(0);
        loop {
            let rows = store.predictions(&partition.stream, partition.partition, from, 10_000).await?;
            let Some(last) = rows.last() else { break };
            from = NextOffset(last.kafka_offset + 1);
            latencies.extend(rows.iter().filter_map(|row| {
                let published = row.record_time?;
                Some((published, (row.classified_at - published).as_seconds_f64() * 1e3))
            }));
        }
    }
    Ok(latencies)
}

fn p99(milliseconds: &mut [f64]) -> f64 {
    milliseconds.sort_by(f64::total_cmp);
    percentile(milliseconds, 0.99)
}
