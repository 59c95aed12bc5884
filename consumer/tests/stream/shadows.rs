//! A challenger that scores a share of the stream beside the champion.

use std::time::Duration;

use harness::{Http, flip_a_bit, until};

use crate::site::Site;

const ROWS: &str = "select count(*) from shadow_rows";

#[tokio::test(flavor = "multi_thread")]
async fn a_challenger_scores_its_share_touches_no_label_and_ends_when_it_is_told() {
    let site = Site::new().await;
    let challenger = site.register_tiny_model(2).await;
    let http = Http::on_a_free_port();
    let consumer = site.consume(|config| {
        config.reload_interval = Duration::from_millis(200);
        config.http = http.address;
    });
    let shadow = site.store.start_shadow(challenger, 0.5, "a test").await.unwrap();
    site.world.publish_reviews(10);
    site.world.until_written(10).await;
    let version = Some(challenger.0 as f64);
    until("a shadow", async || http.metric("labelstream_shadow_version") == version).await;
    let before = site.world.number(ROWS).await.unwrap();
    site.world.publish_reviews(400);
    site.world.until_written(410).await;
    until("rows of the shadow", async || site.world.number(ROWS).await >= Some(before + 150)).await;
    assert!(site.world.number(ROWS).await <= Some(before + 250), "about half of 400");

    assert_eq!(site.newest_versions(1_000).await, [1], "the champion alone labels");
    let (scored, left_out) = ("labelstream_shadow_scored_total", "labelstream_shadow_left_out_total");
    until("what was scored is counted", async || {
        http.metric(scored) == site.world.number(ROWS).await.map(|rows| rows as f64)
    })
    .await;
    assert_eq!(http.metric(left_out), Some(0.0));
    let counts = site.store.shadow_counts(shadow.id).await.unwrap();
    let records: i64 = counts.iter().map(|count| count.records).sum();
    assert_eq!(Some(records), site.world.number(ROWS).await);
    let beside =
        "select count(*) from shadow_predictions where version = 2 and champion_version = 1 and text like '好吃%'";
    assert_eq!(site.world.number(beside).await, Some(records), "each has its review");

    site.store.stop_shadow().await.unwrap();
    until("no shadow", async || http.metric("labelstream_shadow_version") == Some(0.0)).await;
    until("nothing of it in the cache", async || !site.cached(challenger).await.exists()).await;
    let ended = site.world.number(ROWS).await;
    site.world.publish_reviews(200);
    site.world.until_written(610).await;
    assert_eq!(site.world.number(ROWS).await, ended);
    consumer.stop().await;
    site.world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenger_that_cannot_be_loaded_bothers_nobody() {
    let site = Site::new().await;
    let challenger = site.register_tiny_model(2).await;
    flip_a_bit(&site.published(challenger, "model.safetensors").await);
    site.store.start_shadow(challenger, 1.0, "a test").await.unwrap();
    let consumer = site.consume_looking(Duration::from_millis(100));
    site.world.publish_reviews(200);
    site.world.until_written(200).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(site.world.number(ROWS).await, Some(0));
    assert!(consumer.is_running());
    consumer.stop().await;
    site.world.assert_each_exactly_once().await;
}
