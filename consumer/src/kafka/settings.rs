//! librdkafka's configuration: what the guarantees need is fixed, the rest can be set.

use anyhow::{Result, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use service::KafkaProperty;

use crate::config::Config;

/// Set for good, because positions in Postgres and readiness depend on it.
const FIXED: [(&str, &str); 10] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // A position that Kafka no longer has is a gap or a recreated topic: never jump over it
    // silently.
    ("auto.offset.reset", "error"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("group.protocol", "classic"),
    ("isolation.level", "read_committed"),
    ("allow.auto.create.topics", "false"),
    ("check.crcs", "true"),
    // The end of a partition is told: what lies before it and never comes, such as control records,
    // is behind the position then.
    ("enable.partition.eof", "true"),
    ("statistics.interval.ms", "2000"),
];

/// Good for most: a few megabytes ahead of the model, batches that fill while others are
/// classified.
const DEFAULTS: [(&str, &str); 6] = [
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.message.max.bytes", "2097152"),
    // librdkafka rests for a second when this queue is full; at 60,000 records a second it is empty
    // after a third of one.
    ("fetch.queue.backoff.ms", "10"),
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("reconnect.backoff.max.ms", "5000"),
];

/// Kilobytes that librdkafka may read ahead, of all partitions of a topic together. What it is told
/// holds for each of them, since each has a queue of its own.
const READ_AHEAD: usize = 65_536;
const LEAST_READ_AHEAD: usize = 64;

/// A claim may wait ten seconds for Postgres, while nothing is polled, and some may follow another.
const MIN_POLL_INTERVAL_MS: u64 = 60_000;

/// What librdkafka is told; it may hold passwords.
#[derive(Clone)]
pub(crate) struct Settings(pub(super) ClientConfig);

impl Settings {
    /// The configuration of the consumer: defaults, then the properties, then what is fixed.
    ///
    /// # Errors
    /// A property that librdkafka does not know or that would break the guarantees. No message
    /// holds a value of a secret.
    pub fn new(config: &Config) -> Result<Self> {
        config.kafka.settings.properties()?.iter().try_for_each(check)?;
        let mut client = config.kafka.client(&DEFAULTS)?;
        for (key, value) in FIXED {
            client.set(key, value);
        }
        client.set("group.id", &config.group).set_log_level(RDKafkaLogLevel::Warning);
        Ok(Self(client))
    }

    /// The same for a topic with so many partitions: the more there are, the less is read ahead of
    /// each.
    pub(super) fn for_partitions(&self, partitions: usize) -> ClientConfig {
        let mut client = self.0.clone();
        for (key, unit) in [("queued.max.messages.kbytes", 1), ("fetch.message.max.bytes", 1_024)] {
            let (_, most) = DEFAULTS.iter().find(|(default, _)| *default == key).expect("it is one of them");
            // What people have set is theirs.
            if client.get(key) == Some(most) {
                let most: usize = most.parse().expect("it is a number");
                let share = (READ_AHEAD / partitions.max(1)).max(LEAST_READ_AHEAD) * unit;
                client.set(key, share.min(most).to_string());
            }
        }
        client
    }
}

fn check(KafkaProperty { key, value }: &KafkaProperty) -> Result<()> {
    match key.as_str() {
        "bootstrap.servers" | "metadata.broker.list" => bail!("{key} is set with --brokers"),
        "group.id" => bail!("{key} is set with --group"),
        "max.poll.interval.ms" => {
            let enough = value.expose().parse::<u64>().is_ok_and(|value| value >= MIN_POLL_INTERVAL_MS);
            ensure!(enough, "{key} must be at least {MIN_POLL_INTERVAL_MS}: a claim may have to wait for Postgres");
        }
        _ => {
            let fixed = FIXED.iter().find(|(fixed, _)| fixed == key);
            ensure!(fixed.is_none(), "{key} cannot be set: that a record takes effect exactly once depends on it");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
