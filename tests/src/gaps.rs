//! What Kafka no longer has, or never had (faults 20 and 21 of `bench/faults.md`).

use std::time::Duration;

use harness::{kafka, until};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sqlx::query_as;

use crate::records::Message;
use crate::site::Site;

/// A site with 300 records done, 300 more published, and the first 450 of all gone from Kafka.
async fn site_with_lost_records(name: &str) -> Site {
    let site = Site::new(name, 1).await;
    let topic = site.open_topic();
    let sent = topic.publish(&Message::mixed(300)).await;
    let mut consumer = site.consumer("before", &[]);
    site.until_done(&sent).await;
    consumer.kill();
    topic.publish(&Message::mixed(300)).await;
    let mut low = TopicPartitionList::new();
    low.add_partition_offset(&site.topic, 0, Offset::Offset(450)).expect("an offset is one");
    admin(&site).delete_records(&low, &patience()).await.expect("records can be deleted");
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_kafka_deleted_unread_are_a_gap_and_the_stream_goes_on() {
    let site = site_with_lost_records("gap").await;
    let mut consumer = site.consumer("after", &[("--on-gap", "continue")]);
    until("the rest", async || site.done().await == 600).await;
    let gaps: Vec<(i32, i64, i64)> = query_as("select partition, from_offset, to_offset from gaps")
        .fetch_all(&site.pool)
        .await
        .expect("the database answers");
    assert_eq!(gaps, [(0, 300, 450)]);
    let rows = "select (select count(*) from predictions) + (select count(*) from dead_letters)
        + (select sum(tombstones)::bigint from positions) + (select sum(to_offset - from_offset)::bigint from gaps)";
    assert_eq!(site.number(rows).await, Some(600));
    assert_eq!(consumer.metric("labelstream_gap_records_total"), Some(150.0));
    consumer.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_kafka_deleted_unread_stop_the_partition_where_that_is_asked_for() {
    let site = site_with_lost_records("gap_stop").await;
    let mut consumer = site.consumer("after", &[("--on-gap", "stop")]);
    consumer.until_it_says("partition halted").await;
    until("the alarm", async || consumer.metric("labelstream_partition_halted") == Some(1.0)).await;
    until("word of it in the database", async || {
        site.number("select count(*) from positions where last_error like '%300%'").await == Some(1)
    })
    .await;
    assert_eq!(site.done().await, 300, "a halted partition must not move");
    assert!(consumer.ended().is_none());
}

/// The new topic holds so many records: fewer than the position, so that its end betrays it, or
/// more, so that only its id does.
async fn a_topic_made_again_is_not_mixed_with_the_old_one(name: &str, records: usize) {
    let site = Site::new(name, 1).await;
    let sent = site.open_topic().publish(&Message::mixed(300)).await;
    let mut consumer = site.consumer("before", &[]);
    site.until_done(&sent).await;
    consumer.kill();
    let admin = admin(&site);
    let deleted = admin.delete_topics(&[&site.topic], &patience()).await.expect("the broker answers");
    deleted.into_iter().for_each(|topic| drop(topic.expect("the topic can be deleted")));
    until("the new topic", async || kafka().create_topic(&site.topic, 1).is_ok()).await;
    site.open_topic().publish(&Message::mixed(records)).await;

    let mut consumer = site.consumer("after", &[]);
    consumer.until_it_says("made again").await;
    until("the alarm", async || consumer.metric("labelstream_partition_halted") == Some(1.0)).await;
    site.check_every_record(&sent).await;
    assert!(consumer.ended().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_with_fewer_records_halts() {
    a_topic_made_again_is_not_mixed_with_the_old_one("shorter", 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_with_more_records_halts() {
    a_topic_made_again_is_not_mixed_with_the_old_one("longer", 500).await;
}

fn admin(site: &Site) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &site.brokers).create().expect("a client can be made")
}

fn patience() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)))
}
