//! Reviews of a topic that no model has labeled yet, read outside of the group.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use service::broker::{Cluster, Stored};

use crate::config::Config;
use crate::message::review;

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// About the newest `count` reviews of the topic by id; of an id the newest text. Nothing is
/// committed.
///
/// # Errors
/// A topic that is not there, brokers that do not answer.
pub async fn newest_reviews(config: &Config, count: usize) -> Result<BTreeMap<String, String>> {
    let cluster = Cluster::connect(&config.kafka, PATIENCE).await?;
    let records = cluster.newest_records(&config.topic, count).await?;
    let review = |Stored { partition, offset, key, payload }| review(config, partition, offset, key, payload);
    Ok(records.into_iter().filter_map(review).collect())
}
