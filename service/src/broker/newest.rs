//! The newest records of a topic, read outside of any group: nothing is committed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::{ANSWER, Cluster};
use crate::Complaints;

/// A record as it stands in the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The partition's number.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub payload: Option<Vec<u8>>,
}

/// As long as no record comes, the brokers are asked on for this long.
const SILENCE: Duration = Duration::from_secs(15);

impl Cluster {
    /// About the newest `count` records of a topic, as many of each partition.
    ///
    /// # Errors
    /// A topic that is not there, brokers that do not answer.
    pub async fn newest_records(&self, topic: &str, count: usize) -> Result<Vec<Stored>> {
        let Some(partitions) = self.partitions(topic).await? else {
            bail!("there is no topic {topic:?} at {}", self.arguments.brokers);
        };
        let each = count.div_ceil(partitions) as i64;
        // A group that nobody joins: librdkafka assigns nothing without one.
        let settings =
            [("group.id", "labelstream-labels"), ("enable.auto.commit", "false"), ("enable.partition.eof", "true")];
        let reader: BaseConsumer<Complaints> =
            self.arguments.client(&settings)?.create_with_context(Complaints::default())?;
        let name = topic.to_owned();
        let read = self.ask(move |client| {
            let mut assigned = TopicPartitionList::new();
            let mut waiting = BTreeSet::new();
            for partition in 0..i32::try_from(partitions)? {
                let (first, end) = client.fetch_watermarks(&name, partition, ANSWER)?;
                if first < end {
                    assigned.add_partition_offset(&name, partition, Offset::Offset(first.max(end - each)))?;
                    waiting.insert(partition);
                }
            }
            reader.assign(&assigned)?;
            read_to_the_ends(&reader, waiting)
        });
        read.await.with_context(|| format!("topic {topic:?} cannot be read"))
    }
}

fn read_to_the_ends(reader: &BaseConsumer<Complaints>, mut waiting: BTreeSet<i32>) -> Result<Vec<Stored>> {
    let (mut records, mut heard) = (Vec::new(), Instant::now());
    while !waiting.is_empty() {
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => {
                heard = Instant::now();
                records.push(Stored {
                    partition: record.partition(),
                    offset: record.offset(),
                    key: record.key().map(<[u8]>::to_vec),
                    payload: record.payload().map(<[u8]>::to_vec),
                });
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                waiting.remove(&partition);
            }
            // The client goes on by itself.
            Some(Err(_)) | None if heard.elapsed() < SILENCE => {}
            Some(Err(error)) => return Err(error.into()),
            None => bail!("the brokers have sent nothing for {} s", SILENCE.as_secs()),
        }
    }
    Ok(records)
}
