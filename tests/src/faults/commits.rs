//! What falls beside a commit: a kill before it, a kill after it, an answer that is lost, an owner
//! that sleeps in the middle of it (faults 1, 2, 3 and 9).

use std::time::{Duration, Instant};

use harness::{Cut, Proxy, Signal, postgres, until};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sqlx::{Postgres, Transaction};

use crate::records::Message;
use crate::site::Site;

/// Small batches, so that the flow lasts.
const FLAGS: [(&str, &str); 2] = [("--max-batch-reviews", "10"), ("--max-batch-delay-ms", "5")];

/// Fault 1. The position is moved, and the rows of the same transaction wait, when the kill comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_before_the_commit_leaves_nothing_behind() {
    let site = Site::new("killed_before", 1).await;
    let sent = site.open_topic().publish(&Message::mixed(300)).await;
    let blocker = block_rows(&site).await;
    let mut consumer = site.consumer("killed", &[]);
    until_it_writes(&site).await;
    consumer.kill();
    blocker.rollback().await.expect("the lock can be given back");
    assert_eq!(site.done().await, 0, "a write without its commit has moved the position");

    let _next = site.consumer("next", &[]);
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
}

/// Fault 2.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_the_commit_and_before_kafka_hears_of_it_doubles_nothing() {
    let site = Site::new("killed_after", 1).await;
    let topic = site.open_topic();
    let mut sent = Vec::new();
    let mut behind = 0;
    // Kafka is told once a second: some kill comes before.
    while behind == 0 {
        assert!(sent.len() < 3_000, "Kafka always knows everything at once");
        let mut consumer = site.consumer(&format!("killed_{}", sent.len()), &FLAGS);
        sent.extend(topic.publish(&Message::mixed(150)).await);
        site.until_done(&sent).await;
        consumer.kill();
        behind = site.done().await - position_in_kafka(&site);
    }
    sent.extend(topic.publish(&Message::mixed(150)).await);
    let _next = site.consumer("next", &[]);
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
}

/// Fault 3: of three commits the answer is lost, and three others never arrive.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_recognised_and_one_that_was_lost_itself_is_made_again() {
    let site = Site::new("lost_answer", 2).await;
    let sent = site.open_topic().publish(&Message::mixed(8_000)).await;
    let proxy = Proxy::to(postgres().address());
    let database = proxy.url(&site.database);
    let consumer = site.consumer("consumer", &[&FLAGS[..], &[("--database-url", &database)]].concat());
    for (number, cut) in [Cut::Answer, Cut::Request].into_iter().cycle().take(6).enumerate() {
        let before = site.done().await;
        until("more records", async || site.done().await >= (before + 100).min(8_000)).await;
        if site.done().await == 8_000 {
            assert!(number > 1, "the cuts must fall into the flow");
            break;
        }
        proxy.cut_at(b"COMMIT", cut);
        until("a cut", async || proxy.cuts() == number + 1).await;
    }
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
    assert!(consumer.metric("labelstream_write_retries_total") >= Some(proxy.cuts() as f64), "{}", consumer.log());
    assert_eq!(consumer.metric("labelstream_rejoins_total"), Some(0.0), "an answer that is lost is no lost claim");
}

/// Fault 9. The owner sleeps with the lock on its position, amid the copy of its rows.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_frozen_with_its_locks_held_keeps_the_next_one_for_seconds_only() {
    let site = Site::new("frozen_with_locks", 1).await;
    let sent = site.open_topic().publish(&Message::mixed(300)).await;
    let blocker = block_rows(&site).await;
    let mut frozen = site.consumer("frozen", &[]);
    until_it_writes(&site).await;
    frozen.signal(Signal::SIGSTOP);
    blocker.rollback().await.expect("the lock can be given back");

    let started = Instant::now();
    let mut other = site.consumer("other", &[]);
    site.until_done(&sent).await;
    println!("taken over in {:.1} s", started.elapsed().as_secs_f64());
    assert!(started.elapsed() < Duration::from_secs(30), "no timeout of the server may be what ends it");
    frozen.signal(Signal::SIGCONT);
    frozen.until_it_says("nothing written").await;
    site.check_every_record(&sent).await;
    assert!(frozen.ended().is_none() && other.ended().is_none(), "both must live on");
}

/// Whoever writes predictions waits for the end of this transaction.
async fn block_rows(site: &Site) -> Transaction<'static, Postgres> {
    let mut blocker = site.pool.begin().await.expect("the database answers");
    sqlx::raw_sql("lock table prediction_rows in share mode").execute(&mut *blocker).await.expect("the table is free");
    blocker
}

async fn until_it_writes(site: &Site) {
    let waits = "select count(*) from pg_locks where not granted and relation = 'prediction_rows'::regclass";
    until("a write that waits", async || site.number(waits).await == Some(1)).await;
}

/// What the group has told Kafka of partition 0.
fn position_in_kafka(site: &Site) -> i64 {
    let mut config = ClientConfig::new();
    let reader: BaseConsumer =
        config.set("bootstrap.servers", &site.brokers).set("group.id", &site.topic).create().expect("a client");
    let mut asked = TopicPartitionList::new();
    asked.add_partition(&site.topic, 0);
    let known = reader.committed_offsets(asked, harness::PATIENCE).expect("the broker answers");
    match known.elements()[0].offset() {
        Offset::Offset(offset) => offset,
        _ => 0,
    }
}
