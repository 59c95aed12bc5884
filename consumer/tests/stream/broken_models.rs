//! Models that fail, on one text or on all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use classifier::{Classes, Prediction};
use consumer::Model;
use store::Version;

use crate::world::World;

struct Faulty {
    labels: Classes,
    broken: Arc<AtomicBool>,
}

impl Faulty {
    fn new() -> (Self, Arc<AtomicBool>) {
        let broken = Arc::new(AtomicBool::new(false));
        (Self { labels: Classes::new(["good", "bad"]), broken: broken.clone() }, broken)
    }
}

impl Model for Faulty {
    fn classes(&self) -> &Classes {
        &self.labels
    }

    fn max_length(&self) -> usize {
        64
    }

    fn version(&self) -> Version {
        Version(1)
    }

    fn classify(&mut self, texts: &[&str]) -> Result<Vec<Prediction>> {
        ensure!(!self.broken.load(Ordering::Relaxed), "the device is gone");
        assert!(!texts.iter().any(|text| text.contains("poison")), "poisoned");
        Ok(vec![Prediction { scores: vec![0.6, 0.4] }; texts.len()])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_crashes_the_model_is_a_dead_letter_and_its_batch_is_labeled() {
    let world = World::new().await;
    world.publish_reviews(500);
    world.publish([Some(&br#"{"text":"poison"}"#[..])]);
    world.publish_reviews(500);
    let (model, _) = Faulty::new();
    let consumer = world.consume(model, |_| {});
    world.until_written(1_001).await;
    consumer.stop().await;
    world.assert_each_exactly_once().await;
    assert_eq!(world.reasons().await, BTreeMap::from([("model_failed".to_owned(), 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_model_makes_no_dead_letters_and_goes_on_when_it_works_again() {
    let world = World::new().await;
    let (model, broken) = Faulty::new();
    let consumer = world.consume(model, |_| {});
    world.publish_reviews(10);
    world.until_written(10).await;
    broken.store(true, Ordering::Relaxed);
    world.publish_reviews(10);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(world.number("select count(*) from dead_letters").await, Some(0));
    broken.store(false, Ordering::Relaxed);
    world.until_written(20).await;
    consumer.stop().await;
    assert!(world.reasons().await.is_empty());
}
