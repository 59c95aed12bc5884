//! Publishing, dead letters, lag, and what a person is told when something is missing.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use harness::postgres;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use store::{DeadLetterRow, RawRecord};

use crate::program::*;

/// Every record of a topic with one partition.
fn records(topic: &str) -> Vec<RawRecord> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", KAFKA.brokers()).set("group.id", "reads").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let mut records = Vec::new();
    while let Some(Ok(message)) = consumer.poll(Duration::from_secs(20)) {
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        let headers = headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect();
        let (key, payload) = (message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec));
        records.push(RawRecord { key, payload, headers });
    }
    records
}

fn dead_letter(kafka_offset: i64, reason: &'static str) -> DeadLetterRow {
    DeadLetterRow {
        kafka_offset,
        record_time: None,
        reason,
        detail: "as a test has it".into(),
        key: Some(vec![0, 159, 146, 150]),
        payload: Some(b"{\"text\": \x00\xff".to_vec()),
        headers: vec![("trace".into(), Some(vec![0, 1, 255])), ("empty".into(), Some(vec![])), ("none".into(), None)],
    }
}

#[test]
fn dead_letters_are_replayed_byte_for_byte_and_only_once() {
    let url = migrated_database("replay");
    KAFKA.create_topic("replay", 1).unwrap();
    let no_value = DeadLetterRow { key: None, payload: Some(Vec::new()), headers: vec![], ..dead_letter(1, "empty") };
    let letters = vec![dead_letter(0, "not_utf8"), no_value.clone(), dead_letter(2, "other")];
    block_on(written(&url, "replay", vec![], letters.clone()));
    let replay = ["dead-letters", "replay", "--brokers", KAFKA.brokers(), "--database-url", &url];

    let dry = succeed(&[&replay[..], &["--dry-run"]].concat());
    assert!(dry.contains("not_utf8") && dry.contains("nothing was published"), "{dry}");
    assert_eq!(succeed(&[&replay[..], &["--reason", "not_utf8"]].concat()), "replayed 1 dead letters\n");
    assert_eq!(succeed(&replay), "replayed 2 dead letters\n");
    assert_eq!(succeed(&replay), "replayed 0 dead letters\n");

    let expected: Vec<_> = letters
        .into_iter()
        .map(|DeadLetterRow { key, payload, headers, .. }| RawRecord { key, payload, headers })
        .collect();
    assert_eq!(records("replay"), expected);
    let listed = succeed(&["dead-letters", "list", "--json", "--reason", "empty", "--database-url", &url]);
    assert!(json(&listed)["replayed_at"].is_string(), "{listed}");
}

#[test]
fn a_replay_to_a_missing_topic_publishes_and_marks_nothing() {
    let url = migrated_database("lost");
    block_on(written(&url, "gone", vec![], vec![dead_letter(0, "not_utf8")]));
    let error = fail(&["dead-letters", "replay", "--brokers", KAFKA.brokers(), "--database-url", &url]);
    assert!(error.contains("no topic \"gone\"") && error.contains("--to-topic"), "{error}");
    let listed = succeed(&["dead-letters", "list", "--json", "--database-url", &url]);
    assert!(json(&listed)["replayed_at"].is_null(), "{listed}");
}

#[test]
fn a_csv_is_published_and_status_tells_the_lag_or_why_it_cannot() {
    let url = migrated_database("status");
    KAFKA.create_topic("lagging", 1).unwrap();
    let mut file = tempfile::Builder::new().prefix("march").suffix(".csv").tempfile().unwrap();
    file.write_all("label,review\n1,很快\n0,凉了\n1,\"好吃, 还点\"\n".as_bytes()).unwrap();
    let path = file.path().to_str().unwrap();
    let publish = ["publish", path, "--brokers", KAFKA.brokers(), "--topic", "lagging", "--json"];
    assert_eq!(json(&succeed(&publish))["published"], 3);
    let payloads: Vec<Value> = records("lagging")
        .iter()
        .map(|record| serde_json::from_slice(record.payload.as_ref().unwrap()).unwrap())
        .collect();
    assert_eq!(payloads[2]["text"], "好吃, 还点");
    assert_eq!(payloads[2]["label"], "1");

    block_on(written(&url, "lagging", vec![prediction(0)], vec![dead_letter(1, "not_json")]));
    let status = ["status", "--database-url", &url, "--json"];
    let with_kafka = json(&succeed(&[&status[..], &["--brokers", KAFKA.brokers()]].concat()));
    assert_eq!(with_kafka["lag"], 1);
    assert_eq!(with_kafka["predictions_last_minute"], 1);
    assert_eq!(with_kafka["dead_letters_last_hour"]["not_json"], 1);
    let without = json(&succeed(&status));
    assert_eq!((&without["lag"], without["partitions"][0]["position"].as_i64()), (&Value::Null, Some(2)));
    let down = succeed(&["status", "--database-url", &url, "--brokers", "127.0.0.1:1"]);
    assert!(down.contains("lag: unknown (no Kafka broker answered at 127.0.0.1:1"), "{down}");
}

#[test]
fn what_cannot_be_reached_is_one_clear_line_without_the_password() {
    let error = fail(&["status", "--database-url", "postgres://me:hunter2@127.0.0.1:1/reviews"]);
    assert!(!error.contains("hunter2"), "{error}");
    let url = postgres().url("nowhere");
    let error = fail(&["models", "list", "--database-url", &url]);
    assert!(error.contains("nowhere"), "{error}");
    let url = postgres().create_database("unmigrated").unwrap();
    let error = fail(&["models", "list", "--database-url", &url]);
    assert!(error.contains("labelstream migrate"), "{error}");
    let error = fail(&["publish", "-", "--brokers", "127.0.0.1:1", "--patience", "1"]);
    assert!(
        error.contains("no Kafka broker answered at 127.0.0.1:1 within 1 s") && error.contains("refused"),
        "{error}"
    );
    let error = fail(&["publish", "-", "--brokers", KAFKA.brokers(), "--topic", "missing"]);
    assert!(error.contains("no topic \"missing\"") && error.contains("--create-topic"), "{error}");
    let error = fail(&["publish", "missing.csv", "--brokers", KAFKA.brokers()]);
    assert!(error.contains("missing.csv"), "{error}");
}

#[test]
fn wrong_usage_exits_with_2_and_a_reader_that_goes_ends_the_program_quietly() {
    assert_eq!(run(&["publish"]).status.code(), Some(2));
    assert_eq!(run(&["no-such-command"]).status.code(), Some(2));
    let mut child = labelstream(&["configuration"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
