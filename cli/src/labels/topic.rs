//! Reviews of a topic that no model has labeled yet.

use std::collections::BTreeMap;
use std::time::Duration;

use consumer::Config;
use service::KafkaArguments;
use service::broker::{Cluster, Stored};

/// Where reviews come from, and how they are read.
pub struct Topic {
    pub kafka: KafkaArguments,
    pub name: String,
    pub text_field: String,
    pub id_field: String,
}

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

impl Topic {
    /// The newest `count` reviews by id; of an id the newest text.
    pub async fn reviews(&self, count: usize) -> anyhow::Result<BTreeMap<String, String>> {
        let cluster = Cluster::connect(&self.kafka, PATIENCE).await?;
        let records = cluster.newest_records(&self.name, count).await?;
        let config = Config {
            topic: self.name.clone(),
            text_field: self.text_field.clone(),
            id_field: self.id_field.clone(),
            ..Config::default()
        };
        let review =
            |Stored { partition, offset, key, payload }| consumer::review(&config, partition, offset, key, payload);
        Ok(records.into_iter().filter_map(review).collect())
    }
}
