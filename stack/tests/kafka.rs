//! The private Apache Kafka, for real. It needs Java and, once, Maven; without them this test does
//! not run and says so, or fails where `LABELSTREAM_REQUIRE_KAFKA` is set.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use stack::Kafka;

/// Long enough for a broker on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn publish(brokers: &str, topic: &str, text: &str) -> anyhow::Result<()> {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    producer.send(BaseRecord::<(), str>::to(topic).payload(text).partition(0)).map_err(|(error, _)| error)?;
    Ok(producer.flush(PATIENCE)?)
}

fn records(brokers: &str, topic: &str) -> anyhow::Result<i64> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let (low, high) = consumer.fetch_watermarks(topic, 0, PATIENCE)?;
    Ok(high - low)
}

#[test]
fn published_records_outlive_a_stop_and_a_kill() -> anyhow::Result<()> {
    if stack::kafka_cannot_run() {
        return Ok(());
    }
    let mut kafka = Kafka::start()?;
    let brokers = kafka.brokers().to_owned();
    kafka.create_topic("reviews", 3)?;
    kafka.create_topic("reviews", 3).expect_err("it exists");
    publish(&brokers, "reviews", "one")?;

    kafka.stop();
    assert_eq!(kafka.pid(), 0);
    kafka.start_again()?;
    assert_eq!(records(&brokers, "reviews")?, 1);

    publish(&brokers, "reviews", "two")?;
    kafka.kill()?;
    kafka.start_again()?;
    assert_eq!(records(&brokers, "reviews")?, 2);
    publish(&brokers, "reviews", "three")?;
    assert_eq!(records(&brokers, "reviews")?, 3);
    Ok(())
}
