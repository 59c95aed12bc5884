//! What is away comes back, and nothing was lost or turned into a dead letter meanwhile.

use std::os::unix::fs::PermissionsExt as _;

use consumer::{Constant, ModelSource};
use harness::{Http, until};
use service::DatabaseArguments;
use stack::{Fault, Postgres, SmallDisk};
use store::Version;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_and_comes_is_waited_for() {
    let world = World::new().await;
    world.publish_reviews(100);
    let consumer = world.consume_constantly();
    world.until_written(100).await;
    let kafka = world.kafka.as_ref().unwrap();
    kafka.inject(Fault::Down).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    kafka.inject(Fault::Up).unwrap();
    world.publish_reviews(100);
    world.until_written(200).await;
    consumer.stop().await;
    world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_at_the_claim_and_in_the_middle_is_waited_for() {
    let mut postgres = Postgres::start().unwrap();
    let world = World::on(&postgres).await;
    // Made while the database is up; the group takes three seconds to give partitions out.
    let consumer = world.consume_constantly();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    postgres.stop();
    world.publish_reviews(5_000);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    postgres.start_again().unwrap();
    until("the first writes", async || world.number("select sum(next_offset)::bigint from positions").await > Some(0))
        .await;
    postgres.kill().unwrap();
    // Long enough for what is read to fill every stage, and for Kafka to be paused.
    world.publish_reviews(20_000);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert!(consumer.is_running());
    postgres.start_again().unwrap();
    world.until_written(25_000).await;
    consumer.stop().await;
    world.assert_each_exactly_once().await;
    assert!(world.reasons().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_waits_too_long_is_given_up_and_made_again() {
    let mut postgres = Postgres::start().unwrap();
    let world = World::on(&postgres).await;
    let consumer = world.consume_constantly();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    postgres.stop();
    world.publish_reviews(10);
    // The group gives partitions out after three seconds, and a claim waits for thirty.
    tokio::time::sleep(std::time::Duration::from_secs(40)).await;
    assert!(consumer.is_running());
    postgres.start_again().unwrap();
    world.until_written(10).await;
    consumer.stop().await;
    world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waiting_cannot_mend_ends_the_consumer_with_one_clear_line() {
    let world = World::new().await;
    let end = async |database: &str, properties: &[&str]| {
        let mut config = world.config();
        config.database = DatabaseArguments::new(database);
        let properties = properties.iter().map(|property| property.parse().unwrap());
        config.kafka.settings.kafka_properties.extend(properties);
        let source = ModelSource::fixed(|| Ok(Constant::new(Version(1))));
        format!("{:#}", world.start(config, source).end().await.unwrap_err())
    };
    let (address, name) = world.database.rsplit_once('/').unwrap();
    let missing = end(&format!("{address}/no_such_database"), &[]).await;
    assert!(missing.contains("no_such_database"), "{missing}");
    let password = address.split(':').nth(2).unwrap().split('@').next().unwrap();
    let wrong = end(&world.database.replace(password, "wrong"), &[]).await;
    assert!(wrong.contains("password") && !wrong.contains("wrong"), "{wrong}");
    let unmigrated = end(&format!("{address}/postgres"), &[]).await;
    assert!(unmigrated.contains("labelstream migrate"), "{unmigrated}");
    let property = end(&format!("{address}/{name}"), &["auto.offset.reset=latest"]).await;
    assert!(property.contains("auto.offset.reset"), "{property}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_cannot_be_written_stops_no_other_and_holds_bounded_memory() {
    let world = World::new().await;
    world.publish_reviews(2);
    let consumer = world.consume(Constant::new(Version(1)), |config| config.max_in_flight_bytes = 4 << 20);
    world.until_written(2).await;
    // Whoever holds the row of a position holds up its writes.
    let mut holder = world.pool.begin().await.unwrap();
    let lock = "select 1 from position_rows where partition = 0 for update";
    sqlx::query(lock).execute(&mut *holder).await.unwrap();
    // More than a dozen batches each, and twenty times what may be in flight.
    world.publish_reviews(40_000);
    let read = "select next_offset from positions where partition = 1";
    until("partition 1 read to its end", async || world.number(read).await == Some(20_001)).await;
    assert_eq!(world.number("select next_offset from positions where partition = 0").await, Some(1));
    holder.rollback().await.unwrap();
    world.until_written(40_002).await;
    consumer.stop().await;
    world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_writes_nothing_for_a_minute_while_records_wait_is_not_ready() {
    let world = World::new().await;
    world.publish_reviews(2);
    let http = Http::on_a_free_port();
    let consumer = world.consume(Constant::new(Version(1)), |config| config.http = http.address);
    until("readiness", async || http.get("/health/ready").0 == 200).await;
    world.until_written(2).await;
    let mut holder = world.pool.begin().await.unwrap();
    sqlx::query("select from position_rows for update").execute(&mut *holder).await.unwrap();
    world.publish_reviews(100);
    tokio::time::sleep(std::time::Duration::from_secs(55)).await;
    until("a word of it", async || {
        let (status, problems) = http.get("/health/ready");
        status == 503 && problems.contains("nothing was written for")
    })
    .await;
    holder.rollback().await.unwrap();
    until("readiness again", async || http.get("/health/ready").0 == 200).await;
    world.until_written(102).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_waited_for() {
    let world = World::new().await;
    let consumer = world.consume(Constant::new(Version(1)), |config| config.topic = "later".to_owned());
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(consumer.is_running());
    consumer.stop().await;
}

/// Faults 7 and 8. Sequences are not rolled back: each code is raised once.
#[tokio::test(flavor = "multi_thread")]
async fn what_postgres_refuses_for_a_moment_is_tried_again_and_written_once() {
    let world = World::new().await;
    let codes = ["40P01", "40001", "53100", "53200", "53300", "55P03", "57014", "58030", "25006"];
    let refuse = format!(
        "create sequence refusals;
        create function refuse() returns trigger language plpgsql as $$
            declare codes text[] := '{{{}}}'; number bigint := nextval('refusals');
            begin
                if number <= {} then raise exception 'not now' using errcode = codes[number]; end if;
                return null;
            end $$;
        create trigger refuse after insert on prediction_rows for each statement execute function refuse()",
        codes.join(","),
        codes.len()
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(&world.pool).await.unwrap();
    world.publish_reviews(1_000);
    let consumer = world.consume_constantly();
    world.until_written(1_000).await;
    assert!(world.number("select last_value from refusals").await > Some(codes.len() as i64));
    consumer.stop().await;
    world.assert_each_exactly_once().await;
    assert!(world.reasons().await.is_empty());
}

/// Fault 7.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_postgres_is_waited_for() {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let place = directory.path().join("disk");
    let disk = match SmallDisk::mount(&place, 160) {
        Ok(disk) => disk,
        Err(error) => return stack::not_run(format!("{error:#}")),
    };
    let mut postgres = Postgres::start_in(&place).unwrap();
    let world = World::on(&postgres).await;
    world.publish_reviews(100);
    let consumer = world.consume_constantly();
    world.until_written(100).await;
    disk.fill().unwrap();
    world.publish_reviews(30_000);
    until("a word of the disk", async || postgres.log().contains("No space left on device")).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(consumer.is_running());
    disk.clear().unwrap();
    // Without room for its log Postgres ends.
    if postgres.execute("select").is_err() {
        postgres.stop();
        postgres.start_again().unwrap();
    }
    world.until_written(30_100).await;
    consumer.stop().await;
    world.assert_each_exactly_once().await;
    assert!(world.reasons().await.is_empty());
}
