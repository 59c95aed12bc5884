//! Dead letters go back to where they came from, exactly as they came.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, bail};
use store::{DeadLetter, DeadLetterId, RawRecord, Store};
use tokio_util::sync::CancellationToken;

use super::{Cluster, Publisher, Record};
use crate::KafkaArguments;

/// A record may hold a megabyte: so many are in memory at once.
const AT_ONCE: usize = 200;

/// How far a replay came.
#[derive(Default)]
pub struct Replayed {
    /// Letters that were published, acknowledged and marked.
    pub replayed: usize,
    /// Letters that somebody else replays or has replayed meanwhile, or that are gone.
    pub passed_over: usize,
}

/// Publishes the letters in order and marks what the brokers acknowledged. `shutdown` ends it
/// between two portions, each of which is published and marked in one transaction.
pub async fn replay(
    store: &Store,
    kafka: &KafkaArguments,
    letters: &[DeadLetter],
    to_topic: Option<&str>,
    shutdown: &CancellationToken,
) -> anyhow::Result<Replayed> {
    let topic_of = |id: &DeadLetterId| to_topic.unwrap_or(&id.stream.topic).to_owned();
    let connect = Cluster::connect(kafka, Duration::from_secs(30));
    let Some(cluster) = shutdown.run_until_cancelled(connect).await else { return Ok(Replayed::default()) };
    let cluster = cluster?;
    for topic in letters.iter().map(|letter| topic_of(&letter.id)).collect::<HashSet<_>>() {
        if cluster.partitions(&topic).await?.is_none() {
            bail!("there is no topic {topic:?} at {}: --to-topic names another", kafka.brokers);
        }
    }

    let publisher = Publisher::open(kafka)?;
    let mut done = Replayed::default();
    for letters in letters.chunks(AT_ONCE) {
        if shutdown.is_cancelled() {
            break;
        }
        let (mut failed, mut arrived) = (Vec::new(), 0);
        let publish = async |held: Vec<(DeadLetterId, RawRecord)>| {
            done.passed_over += letters.len() - held.len();
            let mut sent = Vec::new();
            for (id, raw) in held {
                publisher.send(&topic_of(&id), &record(raw), sent.len()).await;
                sent.push(id);
            }
            let undelivered = publisher.settled(shutdown).await;
            let numbers: HashSet<usize> = undelivered.iter().map(|(number, _)| *number).collect();
            failed = undelivered.into_iter().map(|(number, why)| (sent[number].clone(), why)).collect();
            let mut number = 0..;
            sent.retain(|_| number.next().is_some_and(|number| !numbers.contains(&number)));
            arrived = sent.len();
            anyhow::Ok(sent)
        };
        store.replay(letters, publish).await.with_context(|| match arrived {
            0 => "no dead letter was published".to_owned(),
            _ => {
                format!("{arrived} dead letters were published and could not be marked: they would be published again")
            }
        })?;
        done.replayed += arrived;
        if let Some((id, why)) = failed.first() {
            bail!(
                "{} dead letters were delivered and {} were not, among them {}/{}/{}: {why}",
                done.replayed,
                failed.len(),
                id.stream.topic,
                id.partition,
                id.kafka_offset,
            );
        }
    }
    Ok(done)
}

fn record(raw: RawRecord) -> Record {
    Record { key: raw.key, payload: raw.payload, headers: raw.headers }
}
