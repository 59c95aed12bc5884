//! What a broker has not acknowledged is neither published nor replayed: against a real Kafka that
//! stands still.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use harness::{own_kafka, postgres};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use stack::Kafka;
use store::{DeadLetterFilter, DeadLetterRow, NextOffset, Outcome, Store, Stream, Write};
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

fn labelstream(arguments: &[&str]) -> Command {
    let mut command = harness::command(env!("CARGO_BIN_EXE_labelstream"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

fn ended(child: Child) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn lines(directory: &Path, count: usize) -> String {
    let file = directory.join("reviews.txt");
    fs::write(&file, (0..count).map(|number| format!("很快，好吃 {number}\n")).collect::<String>()).unwrap();
    file.to_str().unwrap().to_owned()
}

/// A migrated database that holds dead letters of a topic.
async fn dead_letters(name: &str, topic: &str, count: i64) -> (String, Store) {
    let url = postgres().create_database(name).unwrap();
    let store = Store::connect(&url, 2).await.unwrap();
    store.migrate().await.unwrap();
    let stream = Stream { pipeline: "labelstream".into(), cluster_id: "a cluster".into(), topic: topic.into() };
    let claim = store.claim(&stream, 0, "a test", NextOffset(0)).await.unwrap();
    let letter = |kafka_offset| DeadLetterRow {
        kafka_offset,
        record_time: None,
        reason: "not_json",
        detail: "as a test has it".into(),
        key: None,
        payload: Some(kafka_offset.to_string().into_bytes()),
        headers: Vec::new(),
    };
    let write = Write {
        partition: 0,
        epoch: claim.epoch,
        from: claim.next_offset,
        to: NextOffset(count),
        predictions: Vec::new(),
        dead_letters: (0..count).map(letter).collect(),
        tombstones: 0,
    };
    assert_eq!(store.write(&stream, &write).await.unwrap(), Outcome::Written);
    (url, store)
}

async fn marked(store: &Store) -> usize {
    let letters = store.dead_letters(&DeadLetterFilter::default()).await.unwrap();
    letters.iter().filter(|letter| letter.replayed_at.is_some()).count()
}

/// Waits until somebody holds dead letters, to publish them.
async fn until_letters_are_held(url: &str) {
    let mut look = PgConnection::connect(url).await.unwrap();
    harness::until("a replay that holds its letters", async || {
        let holders: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
            where datname = current_database() and state = 'idle in transaction'",
        )
        .fetch_one(&mut look)
        .await
        .unwrap();
        holders > 0
    })
    .await;
}

/// Records in a topic.
fn records(kafka: &Kafka, topic: &str) -> i64 {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let mut config = rdkafka::ClientConfig::new();
    let consumer: BaseConsumer = config.set("bootstrap.servers", kafka.brokers()).create().unwrap();
    // A broker that has stood still leads its partitions again when it has found that out.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        match consumer.fetch_watermarks(topic, 0, Duration::from_secs(20)) {
            Ok((_, end)) => return end,
            Err(error) if std::time::Instant::now() > deadline => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

#[test]
fn a_broker_that_stands_still_has_been_given_nothing_and_two_who_replay_publish_each_letter_once() {
    let kafka = own_kafka();
    let directory = tempfile::tempdir().unwrap();
    for topic in ["reviews", "letters", "both"] {
        kafka.create_topic(topic, 1).unwrap();
    }

    // Forty lines at ten a second, and a broker that stops after two and a half; letters that wait
    // to be sent when it does.
    let (url, store) = RUNTIME.block_on(dead_letters("frozen_replay", "letters", 30));
    let patient = ["--brokers", kafka.brokers(), "-X", "message.timeout.ms=300000"];
    let replay = ["dead-letters", "replay", "--database-url", &url];
    let lingering = [&replay[..], &patient, &["-X", "linger.ms=20000"]].concat();
    let first = labelstream(&lingering).spawn().unwrap();
    RUNTIME.block_on(until_letters_are_held(&url));
    let file = lines(directory.path(), 40);
    let publish = [&["publish", &file, "--topic", "reviews", "--rate", "10", "--json"][..], &patient].concat();
    let publish = labelstream(&publish).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    let second = ended(labelstream(&[&replay[..], &["--brokers", kafka.brokers()]].concat()).spawn().unwrap());
    signal(kafka.pid(), "-STOP");
    assert_eq!(second.0, Some(0), "{second:?}");
    assert!(second.1.starts_with("replayed 0 dead letters\npassed over 30: "), "{second:?}");

    let (code, told, error) = ended(publish);
    let told: Value = serde_json::from_str(&told).unwrap();
    let (published, failed) = (told["published"].as_u64().unwrap(), told["failed"].as_u64().unwrap());
    assert_eq!((code, published + failed), (Some(1), 40), "{told} {error}");
    assert!(failed > 0 && error.starts_with(&format!("error: {failed} reviews were not delivered")), "{error}");
    assert!(error.contains("may arrive all the same"), "{error}");

    let (code, _, error) = ended(first);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("0 dead letters were delivered and 30 were not"), "{error}");
    assert_eq!(RUNTIME.block_on(marked(&store)), 0);
    signal(kafka.pid(), "-CONT");
    assert!(records(&kafka, "reviews") >= published as i64);

    // Two at once: each letter goes out once.
    let (url, store) = RUNTIME.block_on(dead_letters("two_replays", "both", 450));
    let replay = ["dead-letters", "replay", "--brokers", kafka.brokers(), "--database-url", &url];
    let both = [(); 2].map(|()| labelstream(&replay).spawn().unwrap()).map(ended);
    assert!(both.iter().all(|(code, ..)| *code == Some(0)), "{both:?}");
    assert_eq!((RUNTIME.block_on(marked(&store)), records(&kafka, "both")), (450, 450), "{both:?}");
}

#[test]
fn whoever_interrupts_a_publishing_is_told_what_arrived() {
    let kafka = own_kafka();
    let directory = tempfile::tempdir().unwrap();
    kafka.create_topic("reviews", 1).unwrap();
    let file = lines(directory.path(), 10_000);
    let publish = ["publish", &file, "--brokers", kafka.brokers(), "--topic", "reviews", "--rate", "20"];
    let interrupt_after_some = |frozen: bool| {
        let before = records(&kafka, "reviews");
        let child = labelstream(&publish).spawn().unwrap();
        let started = Instant::now();
        while records(&kafka, "reviews") == before {
            assert!(started.elapsed() < Duration::from_secs(60), "nothing arrives");
        }
        if frozen {
            signal(kafka.pid(), "-STOP");
            std::thread::sleep(Duration::from_millis(500));
        }
        signal(child.id(), "-INT");
        let interrupted = Instant::now();
        let ended = ended(child);
        if frozen {
            signal(kafka.pid(), "-CONT");
        }
        assert!(interrupted.elapsed() < Duration::from_secs(40), "{ended:?}");
        ended
    };
    let (code, told, error) = interrupt_after_some(false);
    assert_eq!(code, Some(130), "{error}");
    assert!(told.starts_with("published ") && error.starts_with("interrupted: "), "{told} {error}");
    let (code, _, error) = interrupt_after_some(true);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("reviews were not delivered"), "{error}");
}

#[test]
fn a_pipe_that_breaks_says_what_was_published_before_and_a_broken_file_publishes_nothing() {
    let kafka = own_kafka();
    let directory = tempfile::tempdir().unwrap();
    kafka.create_topic("reviews", 1).unwrap();
    let stream = ["--brokers", kafka.brokers(), "--topic", "reviews"];
    let broken = "text,label\n好,1\n差,0\n\"凉,0\n";
    let file = directory.path().join("march.csv");
    fs::write(&file, broken).unwrap();
    let (code, _, error) =
        ended(labelstream(&[&["publish", file.to_str().unwrap()][..], &stream].concat()).spawn().unwrap());
    assert_eq!((code, records(&kafka, "reviews")), (Some(1), 0), "{error}");
    assert!(error.contains("nothing was published") && error.contains("line 4: a quote opens here"), "{error}");

    let piped = [&["publish", "-", "--format", "csv"][..], &stream].concat();
    let mut child = labelstream(&piped).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(broken.as_bytes()).unwrap();
    let (code, _, error) = ended(child);
    assert_eq!((code, records(&kafka, "reviews")), (Some(1), 2), "{error}");
    assert!(error.contains("stopped after 2 reviews were published: standard input: line 4: a quote"), "{error}");

    // Nobody has typed anything: Ctrl-C ends it all the same.
    let mut child = labelstream(&[&["publish", "-", "--log", "debug"][..], &stream].concat())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains("found the topic")));
    let _nobody_types = child.stdin.take();
    signal(child.id(), "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
