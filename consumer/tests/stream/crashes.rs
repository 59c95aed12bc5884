//! A text that ends the process which classifies it, in real processes: this test's program runs
//! itself again as a consumer that aborts.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use classifier::{Classes, Prediction};
use consumer::{Constant, Model, ModelSource};
use harness::until;
use store::{NextOffset, Stream, Version};
use tokio_util::sync::CancellationToken;

use crate::world::World;

const ENDS_THE_PROCESS: &str = "ends the process";

struct Mortal(Classes);

impl Model for Mortal {
    fn classes(&self) -> &Classes {
        &self.0
    }

    fn max_length(&self) -> usize {
        512
    }

    fn version(&self) -> Version {
        Version(1)
    }

    fn classify(&mut self, texts: &[&str]) -> Result<Vec<Prediction>> {
        if texts.contains(&ENDS_THE_PROCESS) {
            std::process::abort();
        }
        Ok(texts.iter().map(|_| Prediction { scores: vec![1.0, 0.0] }).collect())
    }
}

/// Not a test of its own: the process that the next one starts.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process that another test starts"]
async fn mortal_consumer() {
    let [brokers, database] = ["TEST_BROKERS", "TEST_DATABASE"].map(|name| std::env::var(name).unwrap());
    let model = ModelSource::fixed(|| Ok(Mortal(Classes::new(["good", "bad"]))));
    consumer::run(World::config_for(&brokers, &database), model, CancellationToken::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_ends_the_process_becomes_a_dead_letter_after_it_was_tried_three_times_alone() {
    let world = World::new().await;
    world.publish_reviews(200);
    let killer = format!(r#"{{"text":"{ENDS_THE_PROCESS}"}}"#);
    world.publish([Some(killer.as_bytes())]);
    world.publish_reviews(200);
    let config = world.config();
    let consume = || {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", "crashes::mortal_consumer", "--ignored", "--quiet"]);
        program.env("TEST_BROKERS", &config.kafka.brokers).env("TEST_DATABASE", &*world.database);
        program.spawn().unwrap()
    };
    let mut deaths = 0;
    let written = "select coalesce(sum(predictions + dead_letters), 0)::bigint from positions";
    let mut process = consume();
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while world.number(written).await != Some(401) {
        assert!(std::time::Instant::now() < deadline, "everything written in time, after {deaths} deaths");
        if process.try_wait().unwrap().is_some() {
            deaths += 1;
            process = consume();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    process.kill().unwrap();
    process.wait().unwrap();
    world.assert_each_exactly_once().await;
    assert_eq!(world.reasons().await, BTreeMap::from([("process_died".to_owned(), 1)]));
    // Two or three amid its batch (the first may have moved the position), one in a group, three alone.
    assert!((6..=7).contains(&deaths), "{deaths} deaths");
}

/// Takes its time.
struct Slow(Constant);

impl Model for Slow {
    fn classes(&self) -> &Classes {
        self.0.classes()
    }

    fn max_length(&self) -> usize {
        self.0.max_length()
    }

    fn version(&self) -> Version {
        self.0.version()
    }

    fn classify(&mut self, texts: &[&str]) -> Result<Vec<Prediction>> {
        std::thread::sleep(Duration::from_millis(20));
        self.0.classify(texts)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn suspects_cost_some_seconds_and_a_claim_that_is_lost_among_them_is_made_again() {
    let world = World::new().await;
    world.publish_reviews(2);
    let consumer = world.consume_constantly();
    world.until_written(2).await;
    consumer.stop().await;
    // As two consumers leave them that are killed while records wait.
    let killed = "update readers set reader = 'killed', crashes = 1, from_offset = next_offset
        from position_rows as held where (held.stream_id, held.partition) = (readers.stream_id, readers.partition)";
    sqlx::query(killed).execute(&world.pool).await.unwrap();
    world.publish_reviews(6_000);
    let consumer = world.consume(Slow(Constant::new(Version(1))), |_| {});
    let position = "select next_offset from positions where partition = 0";
    until("careful progress", async || world.number(position).await > Some(200)).await;
    assert_eq!(world.number("select min(crashes)::bigint from readers").await, Some(2));
    let (pipeline, cluster_id, topic) =
        sqlx::query_as("select pipeline, cluster_id, topic from streams").fetch_one(&world.pool).await.unwrap();
    let stream = Stream { pipeline, cluster_id, topic };
    until("a skip between two writes", async || {
        let next = world.number(position).await.unwrap();
        let skipped = world.store.skip(&stream, 0, (NextOffset(next), NextOffset(next + 1)), "a test");
        skipped.await.unwrap()
    })
    .await;
    world.until_written(6_001).await;
    consumer.stop().await;
}
