//! librdkafka's configuration: what the guarantees need is fixed, the rest can be set.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use crate::config::{Config, KafkaProperty};

/// Set for good, because positions in Postgres and readiness depend on it.
const FIXED: [(&str, &str); 10] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // A position that Kafka no longer has is a gap or a recreated topic: never jump over it silently.
    ("auto.offset.reset", "error"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("group.protocol", "classic"),
    ("isolation.level", "read_committed"),
    ("allow.auto.create.topics", "false"),
    ("check.crcs", "true"),
    ("enable.partition.eof", "false"),
    ("statistics.interval.ms", "2000"),
];

/// Good for most: a few megabytes ahead of the model, batches that fill while others are classified.
const DEFAULTS: [(&str, &str); 7] = [
    ("client.id", "labelstream"),
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.message.max.bytes", "2097152"),
    // librdkafka rests for a second when this queue is full; at 60,000 records a second it is empty after a third of one.
    ("fetch.queue.backoff.ms", "10"),
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("reconnect.backoff.max.ms", "5000"),
];

/// A claim may wait half a minute for Postgres, inside the callback that Kafka gives this long.
const MIN_POLL_INTERVAL_MS: u64 = 60_000;

/// What librdkafka is told; it may hold passwords.
#[derive(Clone)]
pub(crate) struct Settings(pub(super) ClientConfig);

impl Settings {
    /// The configuration of the consumer: defaults, then `--kafka-config`, then the environment, then `-X`; then what is fixed.
    ///
    /// # Errors
    /// A property that librdkafka does not know or that would break the guarantees. No message holds a value of a secret.
    pub fn new(config: &Config) -> Result<Self> {
        let mut client = ClientConfig::new();
        for (key, value) in DEFAULTS {
            client.set(key, value);
        }
        let from_file = match &config.kafka_config {
            Some(file) => read(file).with_context(|| format!("cannot use {}", file.display()))?,
            None => Vec::new(),
        };
        for property in from_file.iter().chain(&config.kafka_secrets).chain(&config.kafka_properties) {
            check(property)?;
            client.set(&property.key, &property.value);
        }
        for (key, value) in FIXED {
            client.set(key, value);
        }
        client.set("bootstrap.servers", &config.brokers).set("group.id", &config.group);
        client.set_log_level(RDKafkaLogLevel::Warning);
        client.create_native_config().map_err(|error| refused(&error))?;
        Ok(Self(client))
    }
}

fn read(file: &Path) -> Result<Vec<KafkaProperty>> {
    let text = std::fs::read_to_string(file)?;
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| line.parse().map_err(|error| anyhow::anyhow!("line {}: {error}", number + 1)))
        .collect()
}

fn check(KafkaProperty { key, value }: &KafkaProperty) -> Result<()> {
    match key.as_str() {
        "bootstrap.servers" | "metadata.broker.list" => bail!("{key} is set with --brokers"),
        "group.id" => bail!("{key} is set with --group"),
        "max.poll.interval.ms" => {
            let enough = value.parse::<u64>().is_ok_and(|value| value >= MIN_POLL_INTERVAL_MS);
            ensure!(enough, "{key} must be at least {MIN_POLL_INTERVAL_MS}: a claim may have to wait for Postgres");
        }
        _ => {
            let fixed = FIXED.iter().find(|(fixed, _)| fixed == key);
            ensure!(fixed.is_none(), "{key} cannot be set: that a record takes effect exactly once depends on it");
        }
    }
    Ok(())
}

fn refused(error: &KafkaError) -> anyhow::Error {
    match error {
        // librdkafka's description may repeat the value.
        KafkaError::ClientConfig(_, _, key, _) if is_secret(key) => {
            anyhow::anyhow!("librdkafka refuses the value of {key}")
        }
        KafkaError::ClientConfig(_, description, ..) => {
            anyhow::anyhow!("librdkafka: {description}")
        }
        error => anyhow::anyhow!("librdkafka: {error}"),
    }
}

fn is_secret(key: &str) -> bool {
    ["password", "secret", "key", "token", "pem", "oauthbearer.config", "jaas"].iter().any(|word| key.contains(word))
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
