//! The champion changes under a running stream.

use harness::{Process, until};
use sqlx::query_as;
use tokio::sync::watch;

use crate::programs::labelstream;
use crate::records::{Message, publish_steadily};
use crate::site::Site;

/// What `labelstream models` does with these words; it must succeed.
fn models(site: &Site, words: &[&str]) {
    let output = labelstream(&[&["models"], words, &["--database-url", &site.database]].concat());
    assert!(output.status.success(), "{words:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

async fn until_it_serves(consumers: &[Process], version: i64) {
    until(&format!("version {version} everywhere"), async || {
        consumers.iter().all(|consumer| consumer.metric("labelstream_model_version") == Some(version as f64))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_and_a_rollback_change_the_version_between_two_batches_and_lose_nothing() {
    let site = Site::new("swap", 4).await;
    assert_eq!(site.register_tiny_model(2).await.0, 2);
    // Looking alone would come too late: this is the way of the notification.
    let mut consumers = ["one", "two"].map(|name| site.consumer(name, &[("--reload-interval", "600")]));
    for consumer in &mut consumers {
        consumer.until_ready().await;
    }

    let (stop, stopped) = watch::channel(false);
    let steady = tokio::spawn(publish_steadily(site.open_topic(), Message::mixed_at, stopped));
    for (words, version) in [(&["promote", "2"][..], 2), (&["rollback"], 1), (&["promote", "2"], 2)] {
        let seen = site.done().await;
        until("some records by the version before", async || site.done().await > seen + 200).await;
        models(&site, words);
        until_it_serves(&consumers, version).await;
        // What is read from now on is labeled by it.
        let seen = site.done().await;
        until("some records by the new version", async || site.done().await > seen + 200).await;
    }
    stop.send(true).expect("the publisher listens");
    let sent = steady.await.expect("the publisher does not panic");
    site.until_done(&sent).await;
    site.check_every_record(&sent).await;

    let changes: Vec<(i32, i64)> = query_as(
        "select partition, count(*) from (
            select partition, version, lag(version) over (partition by partition order by kafka_offset) as before
            from predictions
        ) as predictions where version <> before group by partition order by partition",
    )
    .fetch_all(&site.pool)
    .await
    .expect("the database answers");
    assert_eq!(changes, [(0, 3), (1, 3), (2, 3), (3, 3)], "once a partition for each change, and never back");
    let mixed = "select count(*) from (
        select from predictions group by partition, classified_at having count(distinct version) > 1) as transactions";
    assert_eq!(site.number(mixed).await, Some(0), "no transaction names two versions");
    let newest = "select min(version) from (
        select version, row_number() over (partition by partition order by kafka_offset desc) as place from predictions
    ) as predictions where place <= 10";
    assert_eq!(site.number(newest).await, Some(2));
    for consumer in &consumers {
        assert_eq!(consumer.metric("labelstream_model_swaps_total"), Some(3.0));
        assert_eq!(consumer.get("/health/ready").0, 200);
    }
}
