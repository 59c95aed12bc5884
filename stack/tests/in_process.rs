//! The in-process cluster.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use stack::{Fault, InProcessKafka};

#[tokio::test]
async fn it_can_be_held_across_threads_and_fails_on_command() -> anyhow::Result<()> {
    let kafka = InProcessKafka::start()?;
    kafka.create_topic("reviews", 4)?;
    let client = |brokers: &str| -> anyhow::Result<BaseConsumer> {
        Ok(ClientConfig::new().set("bootstrap.servers", brokers).create()?)
    };

    // The handle moves to another thread, as async code moves what it holds.
    let check = move || -> anyhow::Result<()> {
        let topics = client(kafka.brokers())?.fetch_metadata(Some("reviews"), Duration::from_secs(10))?;
        assert_eq!(topics.topics()[0].partitions().len(), 4);
        kafka.inject(Fault::RoundTrip(Duration::from_millis(20)))?;
        kafka.inject(Fault::Down)?;
        let unreachable = client(kafka.brokers())?.fetch_metadata(Some("reviews"), Duration::from_millis(500));
        assert!(unreachable.is_err(), "a broker that is down must not answer");
        kafka.inject(Fault::Up)?;
        client(kafka.brokers())?.fetch_metadata(Some("reviews"), Duration::from_secs(10))?;
        Ok(())
    };
    tokio::task::spawn_blocking(check).await?
}
