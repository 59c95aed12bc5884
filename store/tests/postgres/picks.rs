//! Reviews drawn at random, and what was asked of people.

use std::collections::HashMap;

use store::{NewLabel, Outcome, Pick, Store, Version, Way};

use crate::{claim, migrated, predictions, reviews};

/// Predictions of the reviews `r-0` to `r-(count - 1)`, each with a text of its own.
async fn predicted(store: &Store, count: i64) {
    let claim = claim(store, "a").await;
    let mut write = predictions(&claim, count);
    for row in &mut write.predictions {
        row.text = format!("text {}", row.kafka_offset);
    }
    assert_eq!(store.write(reviews(), &write).await.unwrap(), Outcome::Written);
}

fn pick(review_id: Option<&str>, text: &str, way: Way) -> Pick {
    Pick {
        review_id: review_id.map(str::to_owned),
        text: text.to_owned(),
        way,
        probability: (way == Way::Audit).then_some(0.01),
        version: Some(Version(1)),
        prediction: Some("好评".to_owned()),
        score: Some(0.75),
        classified_at: Some("2026-11-22T10:00:00Z".parse().unwrap()),
    }
}

fn label(review_id: Option<&str>, text: &str, label: &str) -> NewLabel {
    NewLabel {
        review_id: review_id.map(str::to_owned),
        text: Some(text.to_owned()),
        label: label.to_owned(),
        labeled_by: None,
        labeled_at: None,
        source: "test".to_owned(),
    }
}

#[tokio::test]
async fn of_a_small_table_each_prediction_is_as_likely_to_be_drawn() {
    let (store, _) = migrated().await;
    assert!(store.draw_predictions(10).await.unwrap().predictions.is_empty());
    predicted(&store, 300).await;
    let mut times: HashMap<i64, u32> = HashMap::new();
    for _ in 0..200 {
        let draw = store.draw_predictions(30).await.unwrap();
        assert_eq!((draw.predictions.len(), draw.population), (30, 300.0));
        for drawn in draw.predictions {
            *times.entry(drawn.predicted.kafka_offset).or_default() += 1;
        }
    }
    // 20 times each; a standard deviation is 4.2.
    assert_eq!(times.len(), 300);
    assert!(times.values().all(|times| (2..=42).contains(times)), "{times:?}");
    let first: u32 = (0..150).map(|offset| times[&offset]).sum();
    assert!((2_750..=3_250).contains(&first), "{first}");
}

#[tokio::test]
async fn of_a_large_table_blocks_are_drawn_first_and_the_population_is_known_nearly() {
    let (store, _) = migrated().await;
    predicted(&store, 30_000).await;
    let (mut population, mut first, mut all) = (0.0, 0, 0);
    for _ in 0..40 {
        let draw = store.draw_predictions(100).await.unwrap();
        population += draw.population / 40.0;
        first += draw.predictions.iter().filter(|drawn| drawn.predicted.kafka_offset < 10_000).count();
        all += draw.predictions.len();
    }
    assert!((29_000.0..31_000.0).contains(&population), "{population}");
    let share = first as f64 / all as f64;
    assert!((0.28..0.39).contains(&share), "{share}");
}

#[tokio::test]
async fn what_has_a_label_is_drawn_all_the_same_and_said_to_have_one() {
    let (store, _) = migrated().await;
    predicted(&store, 3).await;
    store.add_labels(&[label(Some("r-0"), "text 0", "好评"), label(None, "text 1", "差评")]).await.unwrap();
    let drawn = store.draw_predictions(10).await.unwrap().predictions;
    let mut labeled: Vec<_> = drawn.iter().map(|drawn| (drawn.predicted.kafka_offset, drawn.is_labeled)).collect();
    labeled.sort_unstable();
    assert_eq!(labeled, [(0, true), (1, true), (2, false)]);
}

#[tokio::test]
async fn a_label_answers_a_pick_by_its_review_or_its_text_and_the_newest_counts() {
    let (store, _) = migrated().await;
    let picks = [
        pick(Some("r-1"), "慢", Way::Audit),
        pick(Some("r-2"), "快", Way::Audit),
        pick(None, "贵", Way::Uncertain),
        pick(Some("r-4"), "旧", Way::Diverse),
    ];
    store.record_picks(&picks).await.unwrap();
    assert!(store.answered_picks().await.unwrap().is_empty());
    let first = [label(Some("r-1"), "慢", "好评"), label(None, "贵", "差评"), label(None, "快", "好评")];
    store.add_labels(&first).await.unwrap();
    store.add_labels(&[label(Some("r-1"), "慢", "差评")]).await.unwrap();
    assert_eq!(store.answered_picks().await.unwrap(), picks[..3]);
    let audited: Vec<_> = store.audited().await.unwrap().into_iter().map(|audited| audited.label.unwrap()).collect();
    assert_eq!(audited, ["差评", "好评"]);
}
