//! Members of one group, on a real broker.

use consumer::Constant;
use harness::{kafka, until};
use store::Version;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_consumers_with_one_group_instance_id_the_older_ends_and_says_why_and_the_newer_reads() {
    let topic = "twins";
    kafka().create_topic(topic, 2).unwrap();
    let world = World::beside(kafka().brokers()).await;
    let consume = || {
        world.consume(Constant::new(Version(1)), |config| {
            config.topic = topic.to_owned();
            config.group = topic.to_owned();
            config.kafka.settings.kafka_properties.push("group.instance.id=one".parse().unwrap());
        })
    };
    let older = consume();
    until("claims", async || world.number("select count(*) from positions").await == Some(2)).await;
    let newer = consume();
    let error = format!("{:#}", older.end().await.unwrap_err());
    assert!(error.contains("group.instance.id") && error.contains("id of its own"), "{error}");
    until("the newer one's claims", async || world.number("select min(owner_epoch) from positions").await >= Some(2))
        .await;
    let settled = world.number("select sum(owner_epoch)::bigint from positions").await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(world.number("select sum(owner_epoch)::bigint from positions").await, settled, "nobody rejoins");
    assert!(newer.is_running());
    newer.stop().await;
}
