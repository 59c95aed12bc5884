//! What is wrong at the start is said in one clear line: what waiting can mend is waited for, the
//! rest ends with code 1.

use std::fs;
use std::path::Path;

use harness::{Process, Signal, flip_a_bit, kafka, postgres, until};

use crate::programs::{labelstream, program};
use crate::records::Message;
use crate::site::Site;

/// A password of Kafka's that must never be printed.
const KAFKA_SECRET: &str = "sw0rdf1sh";

/// No output may hold a password, neither Postgres's nor Kafka's.
fn check_that_no_secret_is_told(site: &Site, output: &str) {
    let password = site.database.split([':', '@']).nth(2).expect("the address has a password");
    assert!(!output.contains(password.trim_start_matches('/')), "the database's password is in:\n{output}");
    assert!(!output.contains(KAFKA_SECRET), "Kafka's password is in:\n{output}");
}

/// Waits for exit code 1 and returns the one line that says why.
async fn refusal(site: &Site, mut consumer: Process) -> String {
    assert_eq!(consumer.exit_code().await, Some(1), "{}", consumer.log());
    let log = consumer.log();
    check_that_no_secret_is_told(site, &log);
    let errors: Vec<&str> = log.lines().filter(|line| line.to_lowercase().contains("error")).collect();
    assert_eq!(errors.len(), 1, "one clear line, please:\n{log}");
    errors[0].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_waited_for_and_named() {
    let site = Site::new("no_broker", 1).await;
    let nowhere = format!("127.0.0.1:{}", stack::free_port().expect("a port is free"));
    let secret = format!("sasl.password={KAFKA_SECRET}");
    let sasl = [
        ("-X", "security.protocol=sasl_plaintext"),
        ("-X", "sasl.mechanism=SCRAM-SHA-256"),
        ("-X", "sasl.username=reader"),
    ];
    let mut flags = vec![("--brokers", nowhere.as_str()), ("-X", &secret)];
    flags.extend(sasl);
    let mut consumer = site.consumer("consumer", &flags);
    consumer.until_it_says("waiting for Kafka").await;
    assert!(consumer.log().contains(&nowhere), "which broker?\n{}", consumer.log());
    let (status, problems) = consumer.get("/health/ready");
    assert_eq!(status, 503, "{problems}");
    assert!(problems.contains("no broker answers"), "{problems}");
    assert_eq!(consumer.get("/health/live").0, 200);

    consumer.signal(Signal::SIGTERM);
    assert_eq!(consumer.exit_code().await, Some(0), "{}", consumer.log());
    check_that_no_secret_is_told(&site, &consumer.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_waited_for_and_read_once_it_is_there() {
    let mut site = Site::new("no_topic", 1).await;
    site.topic = format!("{}_made_later", site.topic);
    let mut consumer = site.consumer("consumer", &[]);
    consumer.until_it_says(&format!("there is no topic {}", site.topic)).await;
    assert_eq!(consumer.get("/health/ready").0, 503);

    kafka().create_topic(&site.topic, 1).expect("the topic can be made");
    let sent = site.open_topic().publish(&Message::mixed(100)).await;
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
    consumer.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_missing_database_are_refused_at_once() {
    let site = Site::new("refused", 1).await;
    let password = site.database.split([':', '@']).nth(2).expect("the address has a password");
    let wrong = site.database.replace(password, "0pen-sesame");
    let line = refusal(&site, site.consumer("password", &[("--database-url", &wrong)])).await;
    assert!(line.contains("password") && !line.contains("0pen-sesame"), "{line}");

    let missing = postgres().url("nowhere");
    let line = refusal(&site, site.consumer("database", &[("--database-url", &missing)])).await;
    assert!(line.contains("nowhere"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unapplied_migrations_are_named_with_the_command_that_applies_them() {
    let site = Site::bare("unmigrated", 1).await;
    let line = refusal(&site, site.consumer("consumer", &[])).await;
    assert!(line.contains("labelstream migrate"), "{line}");

    let migrated = labelstream(&["migrate", "--database-url", &site.database]);
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    site.promote_tiny_model(1).await;
    site.consumer("again", &[]).until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_a_champion_is_waited_for() {
    let site = Site::bare("no_champion", 2).await;
    site.store.migrate().await.expect("the migrations apply");
    let sent = site.open_topic().publish(&Message::mixed(200)).await;
    let mut consumer = site.consumer("consumer", &[]);
    consumer.until_it_says("champion").await;
    until("readiness to say what is missing", async || {
        let (status, problems) = consumer.get("/health/ready");
        status == 503 && problems.contains("champion")
    })
    .await;

    site.promote_tiny_model(1).await;
    consumer.until_ready().await;
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_champion_whose_checkpoint_is_gone_or_damaged_is_refused() {
    let site = Site::new("damaged", 1).await;
    let store = site.path("checkpoints");
    let weights = find(&store, "model.safetensors").expect("the store holds the weights");
    flip_a_bit(&weights);
    let line = refusal(&site, site.consumer("damaged", &[])).await;
    assert!(line.contains("model.safetensors"), "{line}");

    let empty = site.path("empty").display().to_string();
    fs::remove_dir_all(&store).expect("the store can be removed");
    let line = refusal(&site, site.consumer("gone", &[("--cache", &empty)])).await;
    assert!(line.contains("checkpoint"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_ends_with_code_2() {
    let log = tempfile::TempDir::new().expect("a directory can be made");
    let mut consumer = Process::start(program("consumer").arg("--no-such-flag"), log.path().join("log"));
    assert_eq!(consumer.exit_code().await, Some(2), "{}", consumer.log());
    assert_eq!(labelstream(&["no-such-command"]).status.code(), Some(2));
}

/// A file of this name anywhere below.
fn find(directory: &Path, name: &str) -> Option<std::path::PathBuf> {
    fs::read_dir(directory).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() { find(&path, name) } else { path.ends_with(name).then_some(path) }
    })
}
