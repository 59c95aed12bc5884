//! A partition's trouble is that partition's: it halts alone, says why, and goes on by itself.

use std::time::{Duration, Instant};

use consumer::Constant;
use harness::{Http, until};
use stack::Fault;
use store::Version;

use crate::world::{Running, TOPIC, World};

/// A consumer and its pages.
fn consume(world: &World) -> (Running, Http) {
    let http = Http::on_a_free_port();
    (world.consume(Constant::new(Version(1)), |config| config.http = http.address), http)
}

async fn until_position(world: &World, partition: i32, position: i64) {
    let query = format!("select next_offset from positions where partition = {partition}");
    until(&format!("position {position} of partition {partition}"), async || {
        world.number(&query).await == Some(position)
    })
    .await;
}

/// What readiness says, status and text.
async fn until_readiness_says(http: &Http, status: u16, words: &str) {
    until(&format!("a readiness of {status} that says {words:?}"), async || {
        let (answered, page) = http.get("/health/ready");
        answered == status && page.contains(words)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_leader_halts_alone_and_follows_without_a_rejoin() {
    let world = World::new().await;
    let kafka = world.kafka.as_ref().unwrap();
    world.publish_reviews(20);
    kafka.set_leader(TOPIC, 1, None).unwrap();
    let (consumer, http) = consume(&world);
    until_position(&world, 0, 10).await;
    until_readiness_says(&http, 200, "partition 1: it has no leader").await;
    assert_eq!(http.metric("labelstream_partitions_halted"), Some(1.0));
    kafka.set_leader(TOPIC, 1, Some(1)).unwrap();
    until_position(&world, 1, 10).await;
    until("no halted partition", async || http.metric("labelstream_partitions_halted") == Some(0.0)).await;
    assert_eq!(http.metric("labelstream_rejoins_total"), Some(0.0));
    consumer.stop().await;
    world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_of_which_every_partition_is_halted_is_not_ready_and_says_why() {
    let world = World::new().await;
    let kafka = world.kafka.as_ref().unwrap();
    for partition in 0..2 {
        kafka.set_leader(TOPIC, partition, None).unwrap();
    }
    let (consumer, http) = consume(&world);
    until_readiness_says(&http, 503, "it has no leader").await;
    assert_eq!(http.get("/health/live").0, 200, "a consumer that waits for its broker lives");
    for partition in 0..2 {
        kafka.set_leader(TOPIC, partition, Some(1)).unwrap();
    }
    until_readiness_says(&http, 200, "").await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_or_a_write_that_fails_for_good_halts_its_partition_alone() {
    let world = World::new().await;
    world.publish_reviews(20);
    refuse(&world, "new.partition = 0 and new.next_offset = 0").await;
    let (consumer, http) = consume(&world);
    until_position(&world, 1, 10).await;
    until_readiness_says(&http, 200, "partition 0: it cannot be claimed: Postgres failed: refused").await;

    // Now a claim works, and a write does not.
    refuse(&world, "new.partition = 0 and new.next_offset > 0").await;
    world.publish_reviews(20);
    until_position(&world, 1, 20).await;
    until_readiness_says(&http, 200, "partition 0: it cannot be written: Postgres failed: refused").await;
    let said = "select count(*) from positions where partition = 0 and last_error like '%refused%'";
    until("word of it in the database", async || world.number(said).await == Some(1)).await;

    refuse(&world, "false").await;
    until_position(&world, 0, 20).await;
    until("no halted partition", async || http.metric("labelstream_partitions_halted") == Some(0.0)).await;
    assert_eq!(http.metric("labelstream_rejoins_total"), Some(0.0));
    consumer.stop().await;
    world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_the_group_does_not_let_in_is_not_ready_until_it_is_let_in() {
    let world = World::new().await;
    world.publish_reviews(20);
    world.kafka.as_ref().unwrap().forbid_groups(10).unwrap();
    let (consumer, http) = consume(&world);
    until_readiness_says(&http, 503, "JoinGroup failed").await;
    world.until_written(20).await;
    until_readiness_says(&http, 200, "").await;
    consumer.stop().await;
}

/// Makes the database refuse every position for which `condition` holds.
async fn refuse(world: &World, condition: &str) {
    let sql = format!(
        "create or replace function refuse() returns trigger language plpgsql as $$
        begin
            if {condition} then raise exception 'refused'; end if;
            return new;
        end $$;
        create or replace trigger refuse before insert or update on position_rows
            for each row execute function refuse()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&world.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_partitions_are_claimed_in_seconds_over_a_slow_line() {
    let world = World::new().await;
    let kafka = world.kafka.as_ref().unwrap();
    kafka.create_topic("wide", 1_000).unwrap();
    kafka.inject(Fault::RoundTrip(Duration::from_millis(100))).unwrap();
    let consumer = world.consume(Constant::new(Version(1)), |config| config.topic = "wide".to_owned());
    let claimed = "select count(*) from positions where owner_epoch = 1";
    until("the first claim", async || world.number(claimed).await > Some(0)).await;
    let started = Instant::now();
    until("all claims", async || world.number(claimed).await == Some(1_000)).await;
    assert!(started.elapsed() < Duration::from_secs(20), "took {:?}", started.elapsed());
    consumer.stop().await;
}
