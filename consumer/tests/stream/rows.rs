//! What becomes of records.

use std::collections::BTreeMap;

use consumer::Start;
use harness::{until, until_some};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use store::{NextOffset, Stream, Version};

use crate::world::{TOPIC, World};

#[tokio::test(flavor = "multi_thread")]
async fn every_record_becomes_a_prediction_a_dead_letter_or_a_counted_tombstone() {
    let world = World::new().await;
    world.publish([
        Some(&br#"{"review_id":"r-1","text":"\u597d","created_at":"2300-01-01T00:00:00Z","stars":5}"#[..]),
        Some(b"not json"),
        None,
        Some(br#"{"text":"   "}"#),
        Some(br#"{"text":"ok","number":1e999999}"#),
        Some(br#"{"text":"ok"}"#),
    ]);
    let consumer = world.consume_constantly();
    world.until_written(6).await;
    consumer.stop().await;

    world.assert_each_exactly_once().await;
    let reasons = [("not_json", 1), ("text_empty", 1), ("unstorable", 1)];
    assert_eq!(world.reasons().await, reasons.map(|(reason, count)| (reason.to_owned(), count)).into());

    let query =
        "select review_id, text, label, score, version, attributes ->> 'stars', extract(year from created_at)::int
        from predictions where partition = 0 and kafka_offset = 0";
    let row: (String, String, String, f32, i64, String, i32) =
        sqlx::query_as(query).fetch_one(&world.pool).await.unwrap();
    assert_eq!(row, ("r-1".into(), "好".into(), "positive".into(), 0.75, 7, "5".into(), 2300));
    let query = "select payload, header_names, header_values from dead_letters where reason = 'unstorable'";
    let row: (Vec<u8>, Vec<String>, Vec<Vec<u8>>) = sqlx::query_as(query).fetch_one(&world.pool).await.unwrap();
    assert_eq!(row.0, br#"{"text":"ok","number":1e999999}"#);
    assert_eq!((row.1, row.2), (vec!["source".to_owned()], vec![b"test".to_vec()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_bad_records_only_goes_on() {
    let world = World::new().await;
    world.publish(std::iter::repeat_n(Some(&b"{"[..]), 2_000));
    let consumer = world.consume_constantly();
    world.until_written(2_000).await;
    world.publish_reviews(10);
    world.until_written(2_010).await;
    consumer.stop().await;
    world.assert_each_exactly_once().await;
    assert_eq!(world.reasons().await, BTreeMap::from([("not_json".to_owned(), 2_000)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_at_the_position_in_postgres() {
    let world = World::new().await;
    world.publish_reviews(1_001);
    for round in 1..=2 {
        let consumer = world.consume_constantly();
        world.until_written(round * 1_001).await;
        consumer.stop().await;
        world.publish_reviews(1_001);
    }
    world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_writes_what_was_read_and_nothing_twice() {
    let world = World::new().await;
    world.publish_reviews(20_000);
    for _ in 0..3 {
        let consumer = world.consume_constantly();
        let before = world.number("select coalesce(sum(next_offset), 0)::bigint from positions").await;
        until("some progress", async || {
            let now = world.number("select coalesce(sum(next_offset), 0)::bigint from positions").await;
            now > before || now == Some(20_000)
        })
        .await;
        consumer.stop().await;
        world.assert_each_exactly_once().await;
    }
    let consumer = world.consume_constantly();
    world.until_written(20_000).await;
    consumer.stop().await;
    world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_consumers_share_the_partitions_and_each_record_is_written_once() {
    let world = World::new().await;
    world.publish_reviews(2_000);
    let first = world.consume_constantly();
    world.until_written(2_000).await;
    let second = world.consume_constantly();
    until("a partition that has changed hands", async || {
        world.number("select max(owner_epoch) from positions").await > Some(1)
    })
    .await;
    world.publish_reviews(2_000);
    world.until_written(4_000).await;
    first.stop().await;
    world.publish_reviews(2_000);
    world.until_written(6_000).await;
    second.stop().await;
    world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_by_somebody_else_fences_and_the_consumer_joins_again() {
    let world = World::new().await;
    world.publish_reviews(10);
    let consumer = world.consume_constantly();
    world.until_written(10).await;

    let stream = stream(&world).await;
    world.store.claim(&stream, 0, "an intruder", NextOffset(0)).await.unwrap();
    world.publish_reviews(10);
    world.until_written(20).await;
    let owner = "select count(*) from positions where owner = 'an intruder'";
    assert_eq!(world.number(owner).await, Some(0));
    consumer.stop().await;
    world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_beyond_the_topic_halts_that_partition_and_no_other() {
    let world = World::new().await;
    world.publish_reviews(10);
    let consumer = world.consume_constantly();
    world.until_written(10).await;
    let stream = stream(&world).await;
    consumer.stop().await;

    sqlx::query("update position_rows set next_offset = 1000 where partition = 0").execute(&world.pool).await.unwrap();
    let consumer = world.consume_constantly();
    world.publish_reviews(10);
    world.until_written(15).await;
    let error = until_some("an error for people", async || {
        world.store.status(&stream.pipeline).await.unwrap().partitions[0].last_error.clone()
    })
    .await;
    assert!(error.contains("the topic was made again"), "{error}");
    assert!(consumer.is_running());
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_halts_even_where_the_position_fits() {
    // A real one: the cluster of librdkafka tells no topic ids.
    let kafka = stack::Kafka::start().unwrap();
    kafka.create_topic(TOPIC, 2).unwrap();
    let world = World::beside(kafka.brokers()).await;
    world.publish_reviews(10);
    let consumer = world.consume_constantly();
    world.until_written(10).await;
    consumer.stop().await;

    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", kafka.brokers()).create().unwrap();
    admin.delete_topics(&[TOPIC], &AdminOptions::new()).await.unwrap();
    until_some("the new topic", async || kafka.create_topic(TOPIC, 2).ok()).await;
    world.publish_reviews(100);
    let consumer = world.consume_constantly();
    until("two halted partitions", async || {
        let halted = "select count(*) from positions where last_error like '%made again%'";
        world.number(halted).await == Some(2)
    })
    .await;
    consumer.stop().await;
    world.until_written(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_start_latest_only_new_records_are_read() {
    let world = World::new().await;
    world.publish_reviews(10);
    let consumer = world.consume(consumer::Constant::new(Version(1)), |config| config.start = Start::Latest);
    until("claims", async || world.number("select count(*) from positions").await == Some(2)).await;
    world.publish_reviews(4);
    world.until_written(4).await;
    consumer.stop().await;
    assert_eq!(world.number("select min(kafka_offset) from predictions").await, Some(5));
}

async fn stream(world: &World) -> Stream {
    let query = "select pipeline, cluster_id from positions limit 1";
    let (pipeline, cluster_id) = sqlx::query_as(query).fetch_one(&world.pool).await.unwrap();
    Stream { pipeline, cluster_id, topic: TOPIC.to_owned() }
}
