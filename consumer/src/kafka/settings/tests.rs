//! What librdkafka is told, and what it must not be told.

use service::{KafkaArguments, KafkaSettings};

use super::*;

fn settings(properties: &[&str], environment: &[&str]) -> Result<Settings> {
    let parse = |properties: &[&str]| properties.iter().map(|property| property.parse().unwrap()).collect();
    let settings = KafkaSettings {
        kafka_properties: parse(properties),
        environment: parse(environment),
        ..KafkaSettings::default()
    };
    Settings::new(&Config { kafka: KafkaArguments { brokers: "b:9092".to_owned(), settings }, ..Config::default() })
}

fn refusal(property: &str) -> String {
    format!("{:#}", settings(&[property], &[]).err().expect("it is refused"))
}

#[test]
fn properties_hold_over_the_defaults_and_what_is_fixed_over_all() {
    let Settings(client) = settings(&["client.id=flag"], &["sasl.password=a=b"]).unwrap();
    assert_eq!(client.get("sasl.password"), Some("a=b"));
    assert_eq!(client.get("client.id"), Some("flag"));
    assert_eq!(client.get("queued.min.messages"), Some("20000"));
    assert_eq!(client.get("auto.offset.reset"), Some("error"));
    assert_eq!((client.get("bootstrap.servers"), client.get("group.id")), (Some("b:9092"), Some("labelstream")));
}

#[test]
fn what_would_break_the_guarantees_is_refused_with_the_reason() {
    assert!(refusal("enable.auto.commit=true").contains("exactly once"));
    assert!(refusal("isolation.level=read_uncommitted").contains("exactly once"));
    assert!(refusal("group.id=other").contains("--group"));
    assert!(refusal("max.poll.interval.ms=10000").contains("at least 60000"));
    assert!(settings(&["max.poll.interval.ms=60000"], &[]).is_ok());
}

#[test]
fn the_more_partitions_there_are_the_less_is_read_ahead_of_each() {
    let ahead = |settings: &Settings, partitions| {
        let client = settings.for_partitions(partitions);
        ["queued.max.messages.kbytes", "fetch.message.max.bytes"]
            .map(|key| client.get(key).unwrap().parse::<usize>().unwrap())
    };
    let usual = settings(&[], &[]).unwrap();
    assert_eq!(ahead(&usual, 1), [16_384, 2_097_152]);
    assert_eq!(ahead(&usual, 100), [655, 655 * 1_024]);
    assert_eq!(ahead(&usual, 100_000), [64, 65_536]);
    assert_eq!(ahead(&settings(&["queued.max.messages.kbytes=9999"], &[]).unwrap(), 100)[0], 9_999);
}
