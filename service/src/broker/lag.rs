//! How far the positions in Postgres are behind the ends of their partitions.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use store::PartitionStatus;

use super::Cluster;
use crate::KafkaArguments;

/// The offset after the last record, by cluster, topic and partition.
pub type Ends = HashMap<(String, String, i32), i64>;

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the partitions end now: of those that are on this cluster.
///
/// # Errors
/// Brokers that do not answer.
pub async fn ends(kafka: &KafkaArguments, partitions: &[PartitionStatus]) -> anyhow::Result<Ends> {
    let cluster = Cluster::connect(kafka, PATIENCE).await?;
    let id = cluster.id().await.unwrap_or_default();
    let here = partitions.iter().map(|partition| &partition.stream).filter(|stream| stream.cluster_id == id);
    let mut ends = Ends::new();
    for topic in here.map(|stream| &stream.topic).collect::<BTreeSet<_>>() {
        // A topic that is gone has no end.
        if let Some(partitions) = cluster.partitions(topic).await? {
            for (partition, end) in (0..).zip(cluster.ends(topic, partitions).await?) {
                ends.insert((id.clone(), topic.clone(), partition), end);
            }
        }
    }
    Ok(ends)
}

/// Where a partition ends, as far as that is known.
pub fn end_of(partition: &PartitionStatus, ends: &Ends) -> Option<i64> {
    let stream = &partition.stream;
    ends.get(&(stream.cluster_id.clone(), stream.topic.clone(), partition.partition)).copied()
}
