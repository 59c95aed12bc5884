//! A Postgres that is away, and one that comes back as another (faults 5 and 6).

use std::time::{Duration, Instant};

use harness::{Cut, Proxy, kafka, postgres, until, until_some};
use stack::Postgres;

use crate::records::Message;
use crate::site::Site;

/// Small batches, so that the flow lasts.
const FLAGS: [(&str, &str); 2] = [("--max-batch-reviews", "10"), ("--max-batch-delay-ms", "5")];

/// Fault 5.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_at_the_start_and_again_at_the_claim_is_waited_for() {
    let site = Site::new("away", 2).await;
    let sent = site.open_topic().publish(&Message::mixed(300)).await;
    let proxy = Proxy::start();
    let mut consumer = site.consumer("consumer", &[("--database-url", &proxy.url(&site.database))]);
    until("a consumer that says what is missing", async || {
        let (status, problems) = consumer.get("/health/ready");
        status == 503 && problems.contains("Postgres")
    })
    .await;
    assert_eq!(consumer.get("/health/live").0, 200);

    proxy.cut_at(b"insert into position_rows", Cut::Request);
    proxy.lead_to(postgres().address());
    until("a claim", async || proxy.cuts() == 1).await;
    proxy.close();
    assert_eq!(site.done().await, 0, "the claim has not arrived");
    consumer.until_it_says("waiting for Postgres").await;
    assert_eq!(consumer.get("/health/live").0, 200);
    proxy.lead_to(postgres().address());
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
    consumer.until_ready().await;
}

/// Fault 6. The new primary never heard of the last positions, nor of the rows beside them: both are
/// in one database, so those records are read again, and each stands there once.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_to_a_replica_that_lacks_the_last_transactions_reads_their_records_again() {
    let mut primary = Postgres::start().expect("Postgres starts");
    let mut site = Site::on("failover", 2, kafka(), &primary).await;
    let replication = Proxy::to(primary.address());
    let replica = primary.start_replica(replication.address()).expect("a replica starts");
    let way = Proxy::to(primary.address());
    let database = way.url(&site.database);
    let topic = site.open_topic();
    let mut sent = topic.publish(&Message::mixed(4_000)).await;
    let mut consumer = site.consumer("consumer", &[&FLAGS[..], &[("--database-url", &database)]].concat());
    until("the first records", async || site.done().await > 500).await;

    replication.close();
    until("records that the replica has not heard of", async || site.done().await > 1_500).await;
    let before = site.done().await;
    assert!(before < 4_000, "the failover must fall into the flow");
    primary.kill().expect("Postgres can be killed");
    let failed = Instant::now();
    replica.promote().expect("the replica can be promoted");
    let name = site.database.rsplit('/').next().expect("the address names a database").to_owned();
    site.move_to(replica.url(&name));
    let kept =
        until_some("the new primary's positions", async || Some(site.done().await).filter(|&done| done > 0)).await;
    assert!(kept < before, "the replica lacks nothing, which proves nothing");
    way.lead_to(replica.address());

    until("the first record after it", async || site.done().await > kept).await;
    println!("{} records read again, the first after {:.1} s", before - kept, failed.elapsed().as_secs_f64());
    sent.extend(topic.publish(&Message::mixed(500)).await);
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;
    assert!(failed.elapsed() < Duration::from_secs(90));
    consumer.until_ready().await;
}
