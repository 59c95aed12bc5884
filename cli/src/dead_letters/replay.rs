//! Dead letters go back to where they came from, exactly as they came.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::bail;
use service::KafkaArguments;
use store::{DeadLetter, RawRecord, Store};

use service::broker::{Cluster, Publisher, Record};

/// A record may hold a megabyte: so many are in memory at once.
const AT_ONCE: usize = 200;

/// Publishes the letters in order, marks what the brokers acknowledged, and returns how many that
/// is.
pub async fn replay(
    store: &Store,
    kafka: &KafkaArguments,
    letters: &[DeadLetter],
    to_topic: Option<&str>,
) -> anyhow::Result<usize> {
    let topic_of = |letter: &DeadLetter| to_topic.unwrap_or(&letter.id.stream.topic).to_owned();
    let cluster = Cluster::connect(kafka, Duration::from_secs(30)).await?;
    for topic in letters.iter().map(topic_of).collect::<HashSet<_>>() {
        if cluster.partitions(&topic).await?.is_none() {
            bail!("there is no topic {topic:?} at {}: --to-topic names another", kafka.brokers);
        }
    }

    let publisher = Publisher::open(kafka)?;
    let mut replayed = 0;
    for letters in letters.chunks(AT_ONCE) {
        let mut sent = Vec::new();
        for letter in letters {
            // A row that was deleted meanwhile has nothing to publish.
            if let Some(raw) = store.raw_record(&letter.id).await? {
                publisher.send(&topic_of(letter), &record(raw), sent.len()).await;
                sent.push(letter);
            }
        }
        let failed = publisher.finish().await;
        let undelivered: HashSet<usize> = failed.iter().map(|(number, _)| *number).collect();
        for (number, letter) in sent.iter().enumerate() {
            if !undelivered.contains(&number) {
                store.mark_replayed(&letter.id).await?;
                replayed += 1;
            }
        }
        if let Some((number, why)) = failed.first() {
            let id = &sent[*number].id;
            bail!(
                "{replayed} dead letters were delivered and {} were not, among them {}/{}/{}: {why}",
                failed.len(),
                id.stream.topic,
                id.partition,
                id.kafka_offset,
            );
        }
    }
    Ok(replayed)
}

fn record(raw: RawRecord) -> Record {
    Record { key: raw.key, payload: raw.payload, headers: raw.headers }
}
