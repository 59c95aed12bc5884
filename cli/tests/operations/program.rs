//! The program as a process, its servers, and rows where a consumer would put them.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use harness::postgres;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};
use stack::InProcessKafka;
use store::{DeadLetterRow, NextOffset, Outcome, PredictionRow, Store, Stream, Version, Write as StoreWrite};
use tokio::runtime::Runtime;

/// One for all tests, as the database server is; each test has its own database and topic.
pub static KAFKA: LazyLock<InProcessKafka> = LazyLock::new(|| InProcessKafka::start().unwrap());

pub fn labelstream(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_labelstream"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&str]) -> Output {
    labelstream(arguments).output().unwrap()
}

pub fn succeed(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The line on standard error of a command that fails.
pub fn fail(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: ") && error.lines().count() == 1, "not one clear line: {error}");
    error
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

pub fn migrated_database(name: &str) -> String {
    let url = postgres().create_database(name).unwrap();
    succeed(&["migrate", "--database-url", &url]);
    url
}

pub fn cluster_id() -> String {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", KAFKA.brokers()).create().unwrap();
    client.client().fetch_cluster_id(Duration::from_secs(10)).unwrap()
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    // One for all: a connection that is kept lives no longer than the runtime that opened it.
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    RUNTIME.block_on(future)
}

/// Plain SQL, as a person might type it.
pub fn execute(url: &str, sql: &'static str) {
    block_on(async { PgConnection::connect(url).await.unwrap().execute(sql).await.unwrap() });
}

/// Puts rows where a consumer would put them.
pub async fn written(
    url: &str,
    topic: &str,
    predictions: Vec<PredictionRow>,
    dead_letters: Vec<DeadLetterRow>,
) -> Store {
    let store = Store::connect(url, 1).await.unwrap();
    let stream = Stream { pipeline: "labelstream".into(), cluster_id: cluster_id(), topic: topic.into() };
    let claim = store.claim(&stream, 0, "a test", NextOffset(0)).await.unwrap();
    let to = NextOffset((predictions.len() + dead_letters.len()) as i64);
    let (partition, epoch, from) = (0, claim.epoch, claim.next_offset);
    let write = StoreWrite { partition, epoch, from, to, predictions, dead_letters, tombstones: 0 };
    assert_eq!(store.write(&stream, &write).await.unwrap(), Outcome::Written);
    store
}

pub fn prediction(kafka_offset: i64) -> PredictionRow {
    PredictionRow {
        kafka_offset,
        record_time: None,
        review_id: format!("r-{kafka_offset}"),
        text: "很快，好吃".into(),
        created_at: None,
        attributes: None,
        label: "好评".into(),
        score: 0.9,
        scores: vec![0.9, 0.1],
        version: Version(1),
        precision: "f32",
    }
}

/// Registers a model that means nothing and is always the same for its seed; returns its version.
pub fn registered(url: &str, checkpoints: &Path, seed: u64, flags: &[&str]) -> i64 {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("model");
    save_tiny_model(&directory, seed);
    let checkpoints = checkpoints.to_str().unwrap();
    let register = ["models", "register", directory.to_str().unwrap(), "--checkpoints", checkpoints];
    let registered = succeed(&[&register[..], &["--database-url", url, "--json"], flags].concat());
    json(&registered)["version"].as_i64().unwrap()
}

/// The model, as a checkpoint directory.
pub fn save_tiny_model(directory: &Path, seed: u64) {
    harness::save_tiny_model(directory, &["好评", "差评"], seed);
}
