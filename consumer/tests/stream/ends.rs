//! Where a partition begins and ends, on a real broker.

use std::time::Duration;

use consumer::{Constant, Start};
use harness::{Http, kafka, until};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use store::Version;

use crate::world::World;

fn producer(properties: &[(&str, &str)]) -> BaseProducer {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", kafka().brokers());
    for (key, value) in properties {
        settings.set(*key, *value);
    }
    settings.create().unwrap()
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", kafka().brokers()).create().unwrap()
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, count: usize) {
    for number in 0..count {
        let value = format!(r#"{{"text":"好吃 {number}"}}"#);
        let record = BaseRecord::<(), str>::to(topic).partition(partition).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

async fn until_position(world: &World, partition: i32, position: i64) {
    let query = format!("select next_offset from positions where partition = {partition}");
    until(&format!("position {position} of partition {partition}"), async || {
        world.number(&query).await == Some(position)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn control_records_at_the_end_leave_no_lag_and_no_gap_after_retention() {
    let topic = "control";
    kafka().create_topic(topic, 1).unwrap();
    let world = World::beside(kafka().brokers()).await;
    let patience = Duration::from_secs(60);
    let producer = producer(&[("transactional.id", topic)]);
    producer.init_transactions(patience).unwrap();
    producer.begin_transaction().unwrap();
    send(&producer, topic, 0, 10);
    producer.commit_transaction(patience).unwrap();
    let http = Http::on_a_free_port();
    let consume = || {
        world.consume(Constant::new(Version(1)), |config| {
            config.topic = topic.to_owned();
            config.group = topic.to_owned();
            config.http = http.address;
        })
    };
    let consumer = consume();
    // Ten records and the mark of their commit.
    until_position(&world, 0, 11).await;
    producer.begin_transaction().unwrap();
    send(&producer, topic, 0, 5);
    producer.abort_transaction(patience).unwrap();
    // Five records that never were, and the mark that says so.
    until_position(&world, 0, 17).await;
    until("no lag", async || http.metric("labelstream_lag") == Some(0.0)).await;
    consumer.stop().await;
    let rows = "select count(*) from predictions";
    assert_eq!(world.number(rows).await, Some(10));

    let mut low = TopicPartitionList::new();
    low.add_partition_offset(topic, 0, Offset::Offset(17)).unwrap();
    admin().delete_records(&low, &AdminOptions::new()).await.unwrap();
    producer.begin_transaction().unwrap();
    send(&producer, topic, 0, 3);
    producer.commit_transaction(patience).unwrap();
    let consumer = consume();
    until_position(&world, 0, 21).await;
    consumer.stop().await;
    assert_eq!((world.number(rows).await, world.number("select count(*) from gaps").await), (Some(13), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_added_under_start_latest_are_read_from_their_first_record() {
    let topic = "growing";
    kafka().create_topic(topic, 1).unwrap();
    let world = World::beside(kafka().brokers()).await;
    let producer = producer(&[("topic.metadata.refresh.interval.ms", "200")]);
    send(&producer, topic, 0, 10);
    let consume = || {
        world.consume(Constant::new(Version(1)), |config| {
            config.topic = topic.to_owned();
            config.group = topic.to_owned();
            config.start = Start::Latest;
            let often = "topic.metadata.refresh.interval.ms=2000".parse().unwrap();
            config.kafka.settings.kafka_properties.push(often);
        })
    };
    let consumer = consume();
    until_position(&world, 0, 10).await;
    admin().create_partitions([&NewPartitions::new(topic, 3)], &AdminOptions::new()).await.unwrap();
    until("the new partitions", async || {
        let metadata = producer.client().fetch_metadata(Some(topic), Duration::from_secs(5));
        metadata.is_ok_and(|metadata| metadata.topics()[0].partitions().len() == 3)
    })
    .await;
    // Before the consumer knows of them.
    send(&producer, topic, 1, 7);
    send(&producer, topic, 2, 4);
    until_position(&world, 1, 7).await;
    until_position(&world, 2, 4).await;
    consumer.stop().await;
    assert_eq!(world.number("select count(*) from predictions").await, Some(11));
}
