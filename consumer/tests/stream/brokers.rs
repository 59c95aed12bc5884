//! Brokers that hand their work to one another, or answer late.

use std::time::Duration;

use harness::Http;
use stack::{Fault, InProcessKafka};

use crate::world::{TOPIC, World};

/// Three brokers and a topic with two partitions.
async fn three_brokers() -> (InProcessKafka, World) {
    let kafka = InProcessKafka::of(3).unwrap();
    kafka.create_topic(TOPIC, 2).unwrap();
    let world = World::beside(kafka.brokers()).await;
    (kafka, world)
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_and_coordinators_that_move_cost_nothing_but_a_moment() {
    let (kafka, world) = three_brokers().await;
    let http = Http::on_a_free_port();
    let consumer = world.consume(consumer::Constant::new(store::Version(1)), |config| config.http = http.address);
    let mut written = 0;
    for broker in [1, 2, 3, 1] {
        kafka.set_leader(TOPIC, 0, Some(broker)).unwrap();
        kafka.set_leader(TOPIC, 1, Some(broker % 3 + 1)).unwrap();
        kafka.set_coordinator("labelstream", broker).unwrap();
        world.publish_reviews(100);
        written += 100;
        world.until_written(written).await;
    }
    assert_eq!(http.metric("labelstream_rejoins_total"), Some(0.0));
    consumer.stop().await;
    world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_two_seconds_away_are_read_all_the_same() {
    let (kafka, world) = three_brokers().await;
    world.publish_reviews(200);
    kafka.inject(Fault::RoundTrip(Duration::from_secs(2))).unwrap();
    let consumer = world.consume_constantly();
    world.until_written(200).await;
    kafka.inject(Fault::RoundTrip(Duration::ZERO)).unwrap();
    consumer.stop().await;
    world.assert_each_exactly_once().await;
}
