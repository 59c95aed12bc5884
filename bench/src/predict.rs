//! `bench predict`: the stream's rate alone, and beside clients that ask `/predict` in a closed
//! loop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bench::measure::percentile;
use bench::stream::measure::{Run, Setup};
use bench::{servers, texts};
use classifier::DeviceChoice;
use serde_json::{Value, json};
use service::DatabaseArguments;
use service::broker::{Cluster, Publisher};
use store::Store;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

/// Flags of `bench predict`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The checkpoint that serves.
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,

    /// A CSV with a column `text` or `review`.
    #[arg(long, value_name = "FILE.csv")]
    reviews: PathBuf,

    /// Records to publish: more than the stream makes while it is measured.
    #[arg(long, default_value_t = 150_000)]
    count: usize,

    /// Clients, each of which asks again as soon as it has its answer.
    #[arg(long, default_value_t = 8)]
    clients: usize,

    /// Texts of a request.
    #[arg(long, default_value_t = 64)]
    texts: usize,

    /// Seconds of each measurement.
    #[arg(long, default_value_t = 20.0, value_name = "SECONDS")]
    seconds: f64,

    /// A flag for the consumer, as --consumer=--predict-share=0.2; may be given several times.
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    consumer: Vec<String>,

    #[command(flatten)]
    servers: servers::ServerArguments,
}

/// Runs the command. What it does goes to standard error, the result to standard output.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let file = rows::texts(&arguments.reviews)?;
    ensure!(!file.is_empty() && arguments.texts > 0, "there is nothing to ask: --reviews, --texts");
    let servers = arguments.servers.clone();
    let servers = spawn_blocking(|| servers::Servers::start(servers)).await??;
    let store = DatabaseArguments::new(&*servers.database_url).open().await?;
    store.migrate().await?;
    let topic = format!("bench-{}", chrono::Utc::now().timestamp_millis());
    let cluster = Cluster::connect(&servers.kafka, Duration::from_secs(30)).await?;
    cluster.create_topic(&topic, 4).await?;
    eprintln!("publishing {} records ...", arguments.count);
    let publisher = Publisher::open(&servers.kafka)?;
    for (number, text) in file.iter().cycle().take(arguments.count).enumerate() {
        publisher.send(&topic, &texts::record(&format!("bench-{number}"), text), number).await;
    }
    ensure!(publisher.finish().await.is_empty(), "a record could not be published");

    let files = tempfile::tempdir()?;
    let http = ([127, 0, 0, 1], stack::free_port()?).into();
    let setup = Setup {
        topic: &topic,
        kafka: &servers.kafka,
        database_url: &servers.database_url,
        checkpoints: format!("file://{}", files.path().join("checkpoints").display()),
        cache: files.path().join("cache"),
        constant: false,
        device: DeviceChoice::Cpu,
        http,
        flags: &arguments.consumer,
    };
    let model = service::register(&store, &setup.checkpoints, &arguments.checkpoint).await?;
    service::promote_over_the_champion(&store, model.model.version, "bench").await?;
    let mut run = Run::start(&setup, &store, &topic)?;
    // It has found its size of batches by then.
    run.until(arguments.count / 50).await?;

    let before = rate(&store, &topic, arguments.seconds).await?;
    let stop = CancellationToken::new();
    let bodies: Arc<[String]> = file.chunks_exact(arguments.texts).map(body).collect();
    ensure!(bodies.len() >= arguments.clients, "the file is too short for so many clients: --texts, --clients");
    let apart = bodies.len() / arguments.clients.max(1);
    let ask = |client| {
        // Each asks for other texts, those of all of them being the file again and again.
        let (bodies, stop) = (bodies.clone(), stop.clone());
        spawn_blocking(move || ask(http, bodies.iter().cycle().skip(client * apart), &stop))
    };
    let clients: Vec<_> = (0..arguments.clients).map(ask).collect();
    let beside = rate(&store, &topic, arguments.seconds).await?;
    stop.cancel();
    let mut milliseconds = Vec::new();
    for client in clients {
        milliseconds.extend(client.await.context("a client")??);
    }
    let after = rate(&store, &topic, arguments.seconds).await?;
    ensure!(store.progress(&topic).await?.unwrap_or(0) < arguments.count as i64, "the stream is at its end: --count");
    run.stop().await?;

    milliseconds.sort_by(f64::total_cmp);
    let alone = (before + after) / 2.0;
    let answers = milliseconds.len();
    let figures: Value = json!({
        "measured": "records a second that Postgres holds, with lag throughout: before, beside and after the clients",
        "alone_before": before, "beside": beside, "alone_after": after, "beside_over_alone": beside / alone,
        "clients": arguments.clients, "texts_a_request": arguments.texts, "answers": answers,
        "texts_a_second": (answers * arguments.texts) as f64 / arguments.seconds,
        "request_ms": {"p50": percentile(&milliseconds, 0.5), "p99": percentile(&milliseconds, 0.99)},
        "version": env!("CARGO_PKG_VERSION"),
    });
    println!("{figures}");
    Ok(())
}

/// Records a second, over so many seconds.
async fn rate(store: &Store, pipeline: &str, seconds: f64) -> anyhow::Result<f64> {
    let done = async || anyhow::Ok(store.progress(pipeline).await?.unwrap_or(0) as f64);
    let (before, started) = (done().await?, Instant::now());
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    Ok((done().await? - before) / started.elapsed().as_secs_f64())
}

fn body(texts: &[String]) -> String {
    json!({ "inputs": texts.iter().map(|text| [text]).collect::<Vec<_>>(), "truncate": true }).to_string()
}

/// Asks until it is told to stop: how long each answer took, in milliseconds.
fn ask<'a>(
    http: SocketAddr,
    bodies: impl Iterator<Item = &'a String>,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<f64>> {
    let agent = ureq::Agent::new_with_defaults();
    let mut took = Vec::new();
    for body in bodies.take_while(|_| !stop.is_cancelled()) {
        let started = Instant::now();
        let request = agent.post(format!("http://{http}/predict")).content_type("application/json");
        request.send(body.as_str())?.body_mut().read_to_string()?;
        took.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}
