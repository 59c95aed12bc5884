//! New champions that are not fit to serve: refused with a reason, while the old model serves on.

use std::time::Duration;

use classifier::checkpoint::Manifest;
use classifier::{Classifier, Device, Tokenizer};
use harness::{Http, TINY_CLASSES, flip_a_bit};
use serde_json::{Value, json};
use store::{LoadStatus, Version};

use crate::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_checkpoint_is_refused_with_its_reason_and_the_old_model_serves_on() {
    let site = Site::new().await;
    let consumer = site.consume_looking(Duration::from_secs(1));
    site.until_reported(Version(1), LoadStatus::Serving).await;
    let weights = "model.safetensors";

    let truncated = site.register_tiny_model(10).await;
    let file = site.published(truncated, weights).await;
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();

    let flipped = site.register_tiny_model(11).await;
    flip_a_bit(&site.published(flipped, weights).await);

    let no_number = site.changed(12, |directory| {
        let mut bytes = std::fs::read(directory.join(weights)).unwrap();
        let last = bytes.len() - 4;
        bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
        std::fs::write(directory.join(weights), bytes).unwrap();
    });
    let no_number = site.register(&no_number, &TINY_CLASSES).await;

    let misshapen = site.changed(13, |directory| {
        let config = std::fs::read_to_string(directory.join("config.json")).unwrap();
        let mut config: Value = serde_json::from_str(&config).unwrap();
        config["intermediate_size"] = 128.into();
        std::fs::write(directory.join("config.json"), config.to_string()).unwrap();
    });
    let misshapen = site.register(&misshapen, &TINY_CLASSES).await;

    let other_tokenizer = site.changed(14, |directory| {
        let other = "一本带有许多其他文字的词典，甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥";
        Tokenizer::from_characters(&[other], 200).save(directory).unwrap();
    });
    let other_tokenizer = site.register(&other_tokenizer, &TINY_CLASSES).await;

    // Of the same size: only what it says gives it away.
    let other_answers = site.changed(15, |directory| {
        let said = Classifier::open(directory, &Device::Cpu).unwrap().classify(&["很快，好吃"]).unwrap();
        let other = TINY_CLASSES[1 - said[0].best().0];
        let extra = json!({"golden": [{"text": "很快，好吃", "label": other}]});
        Manifest::write(directory, extra.as_object().unwrap().clone()).unwrap();
    });
    let other_answers = site.register(&other_answers, &TINY_CLASSES).await;

    let other_labels = site.register(&site.tiny_model(16), &["bad", "good"]).await;

    let deleted = site.register_tiny_model(17).await;
    std::fs::remove_file(site.published(deleted, weights).await).unwrap();

    let mut written = 0;
    for (version, words) in [
        (truncated, &[weights, "bytes"][..]),
        (flipped, &[weights, "SHA-256"]),
        (no_number, &[weights, "not finite"]),
        (misshapen, &[weights, "shape"]),
        (other_tokenizer, &["tokenizer", "too few"]),
        (other_answers, &["golden", "很快，好吃"]),
        (other_labels, &["negative", "the registry says", "good"]),
        (deleted, &["no checkpoint file", weights]),
    ] {
        site.promote(version).await;
        let reason = site.until_reported(version, LoadStatus::Refused).await.expect("a reason");
        for word in words {
            assert!(reason.contains(word), "{reason:?} does not say {word:?}");
        }
        site.world.publish_reviews(10);
        written += 10;
        site.world.until_written(written).await;
        assert_eq!(site.newest_versions(1_000).await, [1], "after {reason}");
        assert!(consumer.is_running());
    }
    for version in [truncated, flipped] {
        assert!(!site.cached(version).await.exists(), "a damaged copy is not kept");
    }

    let good = site.register_tiny_model(20).await;
    site.promote(good).await;
    site.until_reported(good, LoadStatus::Serving).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_version_is_not_tried_again_until_it_is_promoted_again() {
    let site = Site::new().await;
    let http = Http::on_a_free_port();
    let consumer = site.consume(|config| {
        config.reload_interval = Duration::from_millis(100);
        config.http = http.address;
    });
    site.until_reported(Version(1), LoadStatus::Serving).await;
    let bad = site.register_tiny_model(2).await;
    let file = site.published(bad, "model.safetensors").await;
    flip_a_bit(&file);
    site.promote(bad).await;
    site.until_reported(bad, LoadStatus::Refused).await;
    let refused = || http.metric("labelstream_model_refused_total");
    assert_eq!(refused(), Some(1.0));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(refused(), Some(1.0), "looked ten times, tried once");

    flip_a_bit(&file);
    site.promote(bad).await;
    site.until_reported(bad, LoadStatus::Serving).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_cannot_be_written_is_tried_again_at_each_look() {
    let site = Site::new().await;
    let consumer = site.consume_looking(Duration::from_millis(200));
    site.until_reported(Version(1), LoadStatus::Serving).await;
    // As good as full: nothing can be written there, whoever one is.
    let cache = site.path("cache");
    std::fs::remove_dir_all(&cache).unwrap();
    std::fs::write(&cache, "in the way").unwrap();

    let second = site.promote_tiny_model(2).await;
    let reason = site.until_reported(second, LoadStatus::Refused).await.unwrap();
    assert!(reason.contains("writing to the cache"), "{reason}");
    site.world.publish_reviews(10);
    site.world.until_written(10).await;
    assert_eq!(site.newest_versions(10).await, [1]);

    std::fs::remove_file(&cache).unwrap();
    site.until_reported(second, LoadStatus::Serving).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_version_that_is_promoted_again_is_taken_although_the_notification_is_lost() {
    let site = Site::new().await;
    let consumer = site.consume_looking(Duration::from_millis(200));
    site.until_reported(Version(1), LoadStatus::Serving).await;
    let second = site.register_tiny_model(2).await;
    let file = site.published(second, "model.safetensors").await;
    flip_a_bit(&file);
    site.promote(second).await;
    site.until_reported(second, LoadStatus::Refused).await;

    flip_a_bit(&file);
    // As a promotion, without the word of it.
    let quietly = "insert into deployments (alias, version, why) values ('champion', $1, 'mended')";
    sqlx::query(quietly).bind(second.0).execute(&site.pool).await.unwrap();
    site.until_reported(second, LoadStatus::Serving).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_champion_in_a_store_that_is_away_is_taken_when_the_store_is_back() {
    let site = Site::new().await;
    let consumer = site.consume_looking(Duration::from_millis(200));
    site.until_reported(Version(1), LoadStatus::Serving).await;
    let second = site.register_tiny_model(2).await;
    let published = site.published(second, "").await;
    let store = published.parent().unwrap();
    let away = store.with_extension("unmounted");
    std::fs::rename(store, &away).unwrap();
    site.promote(second).await;
    site.until_reported(second, LoadStatus::Refused).await;

    std::fs::rename(&away, store).unwrap();
    site.until_reported(second, LoadStatus::Serving).await;
    consumer.stop().await;
}
