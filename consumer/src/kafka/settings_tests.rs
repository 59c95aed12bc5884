use clap::Parser as _;

use super::*;

fn config(extra: &[&str]) -> Config {
    let required = ["consumer", "--brokers", "b:9092", "--database-url", "postgres://", "--checkpoints", "/c"];
    Config::parse_from(required.iter().chain(extra))
}

fn refusal(extra: &[&str]) -> String {
    format!("{:#}", Settings::new(&config(extra)).err().expect("it is refused"))
}

#[test]
fn properties_come_from_the_file_the_environment_and_the_command_line_in_this_order() {
    let file = std::env::temp_dir().join(format!("labelstream-properties-{}", std::process::id()));
    std::fs::write(&file, "# secrets\nsasl.username = file\nsasl.password=a=b\nclient.id=file\n").unwrap();
    let mut config = config(&["--kafka-config", file.to_str().unwrap(), "-X", "client.id=flag"]);
    config.take_kafka_secrets([
        ("LABELSTREAM_KAFKA_SASL_USERNAME".to_owned(), "environment".to_owned()),
        ("LABELSTREAM_KAFKA_CONFIG".to_owned(), "not a property".to_owned()),
        ("PATH".to_owned(), "/bin".to_owned()),
    ]);
    let Settings(client) = Settings::new(&config).unwrap();
    std::fs::remove_file(file).unwrap();
    assert_eq!(client.get("sasl.username"), Some("environment"));
    assert_eq!(client.get("sasl.password"), Some("a=b"));
    assert_eq!(client.get("client.id"), Some("flag"));
    assert_eq!(client.get("auto.offset.reset"), Some("error"));
}

#[test]
fn what_would_break_the_guarantees_is_refused_with_the_reason() {
    assert!(refusal(&["-X", "enable.auto.commit=true"]).contains("exactly once"));
    assert!(refusal(&["-X", "isolation.level=read_uncommitted"]).contains("exactly once"));
    assert!(refusal(&["-X", "group.id=other"]).contains("--group"));
    assert!(refusal(&["-X", "max.poll.interval.ms=10000"]).contains("at least 60000"));
    assert!(Settings::new(&config(&["-X", "max.poll.interval.ms=60000"])).is_ok());
}

#[test]
fn what_librdkafka_refuses_is_said_without_the_secret() {
    assert!(refusal(&["-X", "no.such.property=1"]).contains("no.such.property"));
    let refused_value = |key: &str| {
        let description = "Invalid value \"hunter2\"".to_owned();
        let kind = rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_INVALID;
        refused(&KafkaError::ClientConfig(kind, description, key.to_owned(), "hunter2".to_owned())).to_string()
    };
    assert!(refused_value("client.id").contains("hunter2"));
    for secret in ["sasl.password", "ssl.key.pem", "sasl.oauthbearer.client.secret"] {
        assert!(!refused_value(secret).contains("hunter2"));
    }
}
