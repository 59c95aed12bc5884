//! A new champion under a running stream, taken over between two batches.

use std::time::Duration;

use classifier::Classes;
use classifier::linear::{LinearModel, LinearWeights, NgramRange};
use harness::{Http, TINY_CLASSES, flip_a_bit, until};
use store::{LoadStatus, Version};

use crate::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_and_a_rollback_take_effect_while_the_stream_flows() {
    let site = Site::new().await;
    let http = Http::on_a_free_port();
    // Looking alone would take longer than the test has patience.
    let consumer = site.consume(|config| {
        config.reload_interval = Duration::from_secs(600);
        config.http = http.address;
    });
    let mut written = 0;
    let mut publish = async |count: usize| {
        site.world.publish_reviews(count);
        written += count as i64;
        site.world.until_written(written).await;
    };
    publish(100).await;
    assert_eq!(site.newest_versions(50).await, [1]);

    let second = site.register_tiny_model(2).await;
    let third = site.register_tiny_model(3).await;
    for version in [second, third] {
        site.promote(version).await;
        site.until_reported(version, LoadStatus::Serving).await;
        publish(100).await;
        assert_eq!(site.newest_versions(50).await, [version.0]);
    }
    assert_eq!(site.store.rollback("worse").await.unwrap(), second);
    site.until_reported(second, LoadStatus::Serving).await;
    publish(100).await;
    assert_eq!(site.newest_versions(50).await, [second.0]);

    assert_eq!(http.metric("labelstream_model_version"), Some(second.0 as f64));
    assert_eq!(http.metric("labelstream_model_swaps_total"), Some(3.0));
    assert_eq!(http.metric("labelstream_model_refused_total"), Some(0.0));
    assert_eq!(http.metric(r#"labelstream_model_info{version="2",device="cpu"}"#), Some(1.0));
    assert_eq!(http.metric(r#"labelstream_model_info{version="3",device="cpu"}"#), None);
    let reports = site.store.load_reports().await.unwrap();
    assert_eq!(reports.len(), 1, "one version serves, and no other is told of: {reports:?}");
    let cached = std::fs::read_dir(site.path("cache")).unwrap().count();
    assert_eq!(cached, 2, "what serves and what served before it");
    consumer.stop().await;
    site.world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linear_model_serves_like_a_bert_and_gives_way_to_one() {
    let site = Site::new().await;
    let directory = site.path("linear");
    let weights = LinearWeights { bias: vec![0.0, 1.0], ..LinearWeights::default() };
    let model = LinearModel::new(Classes::new(TINY_CLASSES), NgramRange(1, 2), weights).unwrap();
    model.save(&directory, serde_json::Map::new()).unwrap();
    let linear = site.register(&directory, &TINY_CLASSES).await;
    site.promote(linear).await;

    let consumer = site.consume_looking(Duration::from_secs(600));
    site.world.publish_reviews(100);
    site.world.until_written(100).await;
    let scored = "select count(*) from predictions where label = 'positive' and abs(score - 0.731) < 0.001";
    assert_eq!((site.newest_versions(50).await, site.world.number(scored).await), (vec![linear.0], Some(100)));

    let network = site.register_tiny_model(2).await;
    site.promote(network).await;
    site.until_reported(network, LoadStatus::Serving).await;
    site.world.publish_reviews(100);
    site.world.until_written(200).await;
    assert_eq!(site.newest_versions(50).await, [network.0]);
    consumer.stop().await;
    site.world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_prediction_names_the_precision_that_it_was_computed_with() {
    let site = Site::new().await;
    for (precision, written) in [("f32", 50), ("int8", 100)] {
        let consumer = site.consume(|config| config.precision = Some(precision.parse().unwrap()));
        site.world.publish_reviews(50);
        site.world.until_written(written).await;
        consumer.stop().await;
    }
    for rows in [
        "select count(*) from predictions where precision = 'f32'",
        "select count(*) from predictions where precision = 'int8'",
    ] {
        assert_eq!(site.world.number(rows).await, Some(50), "{rows}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_two_versions_that_wait_for_postgres_together_are_written_apart() {
    let site = Site::new().await;
    let http = Http::on_a_free_port();
    let consumer = site.consume(|config| config.http = http.address);
    let publish = async |batches: f64| {
        site.world.publish_reviews(1);
        until("another batch", async || http.metric("labelstream_batches_total") == Some(batches)).await;
    };
    let mut blocker = site.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table prediction_rows in share mode").execute(&mut *blocker).await.unwrap();
    // One in the hands of the writer, one behind it, and one more by another version.
    publish(1.0).await;
    publish(2.0).await;
    let second = site.promote_tiny_model(2).await;
    site.until_reported(second, LoadStatus::Serving).await;
    publish(3.0).await;
    blocker.rollback().await.unwrap();
    site.world.until_written(3).await;
    consumer.stop().await;

    let query = "select version, classified_at::text from predictions order by kafka_offset";
    let rows: Vec<(i64, String)> = sqlx::query_as(query).fetch_all(&site.pool).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [1, 1, second.0]);
    assert_ne!(rows[1].1, rows[2].1, "the time of a transaction is one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_copy_in_the_cache_is_fetched_again() {
    let site = Site::new().await;
    let consumer = site.consume(|_| {});
    site.until_reported(Version(1), LoadStatus::Serving).await;
    consumer.stop().await;
    let weights = site.cached(Version(1)).await.join("model.safetensors");
    let good = std::fs::read(&weights).unwrap();
    flip_a_bit(&weights);

    let consumer = site.consume(|_| {});
    site.world.publish_reviews(10);
    site.world.until_written(10).await;
    consumer.stop().await;
    assert_eq!(std::fs::read(&weights).unwrap(), good);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_promotions_in_ten_seconds_with_notifications_lost_end_with_the_last_everywhere() {
    let site = Site::new().await;
    let pages = [Http::on_a_free_port(), Http::on_a_free_port(), Http::on_a_free_port()];
    let caches = ["one", "two", "three"].map(|name| site.path(name));
    let consumers: Vec<_> = pages
        .iter()
        .zip(&caches)
        .map(|(http, cache)| {
            site.consume(|config| {
                config.reload_interval = Duration::from_millis(500);
                config.http = http.address;
                config.cache.directory = Some(cache.clone());
            })
        })
        .collect();
    let serves = async |version: Version| {
        for http in &pages {
            until(&format!("version {version} at {}", http.address), async || {
                http.metric("labelstream_model_version") == Some(version.0 as f64)
            })
            .await;
        }
    };
    serves(Version(1)).await;
    let mut versions = Vec::new();
    for seed in 2..7 {
        versions.push(site.register_tiny_model(seed).await);
    }

    let mut clock = tokio::time::interval(Duration::from_millis(200));
    for number in 0..50 {
        clock.tick().await;
        // Past the function that notifies; and now and then a connection that listens is cut.
        sqlx::query("insert into deployments (alias, version, why) values ('champion', $1, 'one of fifty')")
            .bind(versions[number % versions.len()])
            .execute(&site.pool)
            .await
            .unwrap();
        if number % 10 == 0 {
            let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                where query ilike 'listen%' and datname = current_database()";
            sqlx::query(cut).execute(&site.pool).await.unwrap();
        }
        site.world.publish_reviews(10);
    }
    serves(versions[49 % 5]).await;
    site.world.until_written(500).await;
    let mixed = "select count(*) from (
        select from predictions group by partition, classified_at having count(distinct version) > 1) as batches";
    assert_eq!(site.world.number(mixed).await, Some(0), "no transaction names two versions");
    for consumer in consumers {
        consumer.stop().await;
    }
    site.world.assert_each_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_number_that_comes_again_after_a_restore_is_another_model() {
    let site = Site::new().await;
    let http = Http::on_a_free_port();
    let consumer = site.consume(|config| {
        config.reload_interval = Duration::from_millis(200);
        config.http = http.address;
    });
    site.until_reported(Version(1), LoadStatus::Serving).await;
    let second = site.register_tiny_model(2).await;
    // As a backup has it in which number 1 was given to what is number 2 here.
    for sql in [
        "update models set manifest_sha256 = repeat('0', 64) where version = 1",
        "create table number_two as select uri, manifest_sha256 from models where version = 2",
        "update models set manifest_sha256 = repeat('1', 64) where version = 2",
        "update models set (uri, manifest_sha256) = (select uri, manifest_sha256 from number_two) where version = 1",
    ] {
        sqlx::query(sql).execute(&site.pool).await.unwrap();
    }
    until("the other model", async || http.metric("labelstream_model_swaps_total") == Some(1.0)).await;
    assert!(site.cached(Version(1)).await.exists(), "the files of version {second} are here under number 1");
    consumer.stop().await;
}
