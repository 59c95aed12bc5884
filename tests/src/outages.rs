//! What is down is waited for; what was overtaken writes nothing (faults 4, 11 and 16 of
//! `bench/faults.md`).

use harness::{Signal, kafka, own_kafka, postgres, until};
use stack::Postgres;

use crate::records::Message;
use crate::site::Site;

/// Small batches, so that the flow lasts and an outage falls into one.
const FLAGS: [(&str, &str); 2] = [("--max-batch-reviews", "10"), ("--max-batch-delay-ms", "5")];

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stops_or_crashes_amid_a_batch_costs_nothing_but_time() {
    let mut postgres = Postgres::start().expect("Postgres starts");
    let site = Site::on("database", 3, kafka(), &postgres).await;
    let sent = site.open_topic().publish(&Message::mixed(8_000)).await;
    let mut consumer = site.consumer("consumer", &FLAGS);

    until("the first records", async || site.done().await > 500).await;
    assert!(site.done().await < 8_000, "the stop must fall into the flow");
    postgres.stop();
    until("a consumer that knows", async || consumer.get("/health/ready").0 == 503).await;
    assert_eq!(consumer.get("/health/live").0, 200, "a consumer that waits for its database lives");
    postgres.start_again().expect("Postgres starts again");
    site.until_it_flows("a stop of Postgres").await;

    until("the next records", async || site.done().await > 2_500).await;
    assert!(site.done().await < 8_000, "the crash must fall into the flow");
    postgres.kill().expect("Postgres can be killed");
    postgres.start_again().expect("Postgres starts again");
    site.until_it_flows("a crash of Postgres").await;

    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
    consumer.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_or_crashes_costs_nothing_but_time() {
    let mut kafka = own_kafka();
    let site = Site::on("broker", 3, &kafka, postgres()).await;
    let topic = site.open_topic();
    let mut sent = topic.publish(&Message::mixed(8_000)).await;
    let mut consumer = site.consumer("consumer", &FLAGS);

    until("the first records", async || site.done().await > 500).await;
    assert!(site.done().await < 8_000, "the stop must fall into the flow");
    kafka.stop();
    until("a consumer that knows", async || consumer.get("/health/ready").0 == 503).await;
    kafka.start_again().expect("Apache Kafka starts again");
    sent.extend(topic.publish(&Message::mixed(1_000)).await);
    site.until_done(&sent).await;

    kafka.kill().expect("Apache Kafka can be killed");
    kafka.start_again().expect("Apache Kafka starts again");
    sent.extend(topic.publish(&Message::mixed(1_000)).await);
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
    consumer.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_frozen_past_its_session_writes_nothing_when_it_wakes_and_joins_again() {
    let site = Site::new("frozen", 4).await;
    let topic = site.open_topic();
    let mut sent = topic.publish(&Message::mixed(8_000)).await;
    let mut frozen = site.consumer("frozen", &FLAGS);
    until("the first records", async || site.done().await > 500).await;
    frozen.signal(Signal::SIGSTOP);
    let mut other = site.consumer("other", &FLAGS);
    site.until_done(&sent).await;
    other.until_ready().await;

    let written = "select (select count(*) from predictions) + (select count(*) from dead_letters)";
    let before = (site.number(written).await, site.done().await);
    frozen.signal(Signal::SIGCONT);
    until("the woken consumer's own partitions", async || {
        let counted = |name: &str| frozen.metric(name) > Some(0.0);
        (counted("labelstream_fenced_total") || counted("labelstream_rejoins_total"))
            && counted("labelstream_assigned_partitions")
    })
    .await;
    assert_eq!((site.number(written).await, site.done().await), before, "an overtaken consumer wrote");

    sent.extend(topic.publish(&Message::mixed(1_000)).await);
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
    assert!(frozen.ended().is_none() && other.ended().is_none(), "both must live on");
}
