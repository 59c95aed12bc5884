//! A topic with all records in it before the clock starts.

use anyhow::bail;
use service::KafkaArguments;
use service::broker::Publisher;

use crate::texts::record;

/// Publishes the texts as fast as the broker takes them.
pub async fn fill(kafka: &KafkaArguments, topic: &str, texts: &[&str]) -> anyhow::Result<()> {
    let publisher = Publisher::open(kafka)?;
    for (number, text) in texts.iter().enumerate() {
        publisher.send(topic, &record(&format!("bench-{}", number + 1), text), number).await;
    }
    match publisher.finish().await.first() {
        Some((_, why)) => bail!("the topic could not be filled: {why}"),
        None => Ok(()),
    }
}
