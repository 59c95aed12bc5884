//! Brokers that go, one by one and all together, and a cluster that comes back as another (faults 16
//! and 21).

use std::env;
use std::time::{Duration, Instant};

use harness::{own_cluster, own_kafka, postgres, until};

use crate::records::Message;
use crate::site::Site;

/// Small batches, so that the flow lasts.
const FLAGS: [(&str, &str); 2] = [("--max-batch-reviews", "10"), ("--max-batch-delay-ms", "5")];

/// How long all brokers stay away: `LABELSTREAM_TEST_OUTAGE` says how many seconds, for a longer
/// run.
fn outage() -> Duration {
    let seconds = env::var("LABELSTREAM_TEST_OUTAGE").map_or(3, |seconds| seconds.parse().expect("a number"));
    Duration::from_secs(seconds)
}

/// Fault 16.
#[tokio::test(flavor = "multi_thread")]
async fn three_brokers_killed_one_by_one_and_then_all_of_them_cost_nothing_but_time() {
    let mut kafka = own_cluster(3);
    let site = Site::on("three_brokers", 3, &kafka, postgres()).await;
    let topic = site.open_topic();
    let mut sent = Vec::new();
    let mut consumer = site.consumer("consumer", &FLAGS);
    for broker in 0..3 {
        sent.extend(topic.publish(&Message::mixed(500)).await);
        let killed = Instant::now();
        kafka.broker(broker).kill().expect("the broker runs");
        sent.extend(topic.publish(&Message::mixed(500)).await);
        site.until_done(&sent).await;
        println!("without broker {broker}: all done after {:.1} s", killed.elapsed().as_secs_f64());
        kafka.broker(broker).start_again().expect("the broker starts again");
    }
    sent.extend(topic.publish(&Message::mixed(500)).await);
    kafka.kill().expect("the brokers run");
    until("a consumer that knows", async || consumer.get("/health/ready").0 == 503).await;
    assert_eq!(consumer.get("/health/live").0, 200, "a consumer that waits for its brokers lives");
    tokio::time::sleep(outage()).await;
    let back = Instant::now();
    kafka.start_again().expect("the brokers start again");
    sent.extend(topic.publish(&Message::mixed(500)).await);
    site.until_done(&sent).await;
    println!("after {} s without any: all done in {:.1} s", outage().as_secs(), back.elapsed().as_secs_f64());
    site.check_every_record(&sent).await;
    consumer.until_ready().await;
}

/// Fault 21, for a topic that was made again see `gaps.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_at_the_same_address_is_not_mixed_with_the_first() {
    let mut kafka = own_kafka();
    let site = Site::on("another_cluster", 2, &kafka, postgres()).await;
    let sent = site.open_topic().publish(&Message::mixed(300)).await;
    let mut consumer = site.consumer("consumer", &[]);
    site.until_done(&sent).await;
    kafka.stop();
    kafka.start_anew().expect("another cluster starts");
    kafka.create_topic(&site.topic, 2).expect("the topic can be made");
    site.open_topic().publish(&Message::mixed(500)).await;

    // Which of the two comes first is the moment's doing; each halts with a reason.
    until("word of it", async || {
        let halted = consumer.metric("labelstream_partition_halted") == Some(2.0);
        halted && consumer.log().contains("made again") || consumer.ended().is_some()
    })
    .await;
    if consumer.ended().is_some() {
        assert!(consumer.log().contains("another cluster answers"), "{}", consumer.log());
    }
    site.check_every_record(&sent).await;
    // Whoever starts a consumer there starts from the beginning, beside the old rows.
    consumer.kill();
    let next = site.consumer("next", &[]);
    until("the other cluster's records", async || site.done().await == 800).await;
    assert_eq!(site.number("select count(distinct cluster_id) from positions").await, Some(2));
    assert_eq!(next.metric("labelstream_partition_halted").unwrap_or(0.0), 0.0);
}

/// Fault 21. The position is beyond the end of what the new leader has.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_an_unclean_election_truncated_halts() {
    a_truncated_log_halts("truncated", 100).await;
}

/// Fault 21. The new leader was filled with other records, up to the position and beyond.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_truncated_and_refilled_halts() {
    a_truncated_log_halts("refilled", 400).await;
}

/// The only replica in sync is lost with the last 200 records; the one that becomes leader never had
/// them, and gets so many others, while no consumer runs.
async fn a_truncated_log_halts(name: &str, others: usize) {
    let mut kafka = own_cluster(3);
    kafka.create_topic_on(name, &[0, 1], &[("unclean.leader.election.enable", "true")]).expect("the topic can be made");
    let site = Site::of_topic(name, 1, &kafka, postgres()).await;
    let mut sent = site.open_topic().publish(&Message::mixed(200)).await;
    let mut consumer = site.consumer("before", &[]);
    site.until_done(&sent).await;
    kafka.broker(1).kill().expect("the broker runs");
    sent.extend(site.open_topic().publish(&Message::mixed(200)).await);
    site.until_done(&sent).await;
    consumer.kill();

    kafka.broker(0).kill().expect("the broker runs");
    kafka.broker(1).start_again().expect("the broker starts again");
    let other = |number| Message::review(&format!("o-{number}"), &format!("another record, {number}"));
    let others = site.open_topic().publish(&(0..others).map(other).collect::<Vec<_>>()).await;
    assert_eq!(others[0].offset, 200, "the log was not truncated");
    let mut consumer = site.consumer("after", &[]);
    until("the alarm", async || consumer.metric("labelstream_partition_halted") == Some(1.0)).await;
    site.check_every_record(&sent).await;
    assert!(consumer.ended().is_none());
    until("its reason", async || {
        site.number("select count(*) from positions where last_error ~ 'made again|filled again'").await == Some(1)
    })
    .await;
}
