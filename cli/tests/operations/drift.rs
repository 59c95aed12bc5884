//! A stream that changes, and what is said of it.

use serde_json::Value;
use store::PredictionRow;

use crate::program::*;

/// What guests write of food, of hotels, and in English.
const WORDS: [[&str; 6]; 3] = [
    ["送餐", "味道不错", "好吃", "很慢", "米饭", "分量足"],
    ["房间", "酒店", "前台", "很旧", "早餐", "干净"],
    ["the room ", "was clean ", "breakfast ", "staff ", "very slow ", "would not return "],
];

/// Four hours of each kind, after the hour that everything is compared with.
fn review(offset: i64) -> PredictionRow {
    let hour = offset / 500;
    let words = WORDS[usize::try_from((hour - 1).max(0) / 4).unwrap()];
    let number = usize::try_from(offset).unwrap();
    let text: String = (0..3 + number % 5).map(|place| words[(number / 3 + place * (1 + number % 5)) % 6]).collect();
    let score = 0.7 + 0.3 * ((number * 7919) % 100) as f32 / 100.0;
    let label = if (number * 31) % 10 < 6 { "好评" } else { "差评" };
    PredictionRow { text, score, scores: vec![score, 1.0 - score], label: label.into(), ..prediction(offset) }
}

#[test]
fn a_stream_that_changes_from_food_to_hotels_to_english_is_seen_in_the_hour_it_does() {
    let url = migrated_database("drift");
    let nothing = run(&["drift", "--database-url", &url]);
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("no version serves"), "{nothing:?}");
    let checkpoints = tempfile::tempdir().unwrap();
    registered(&url, checkpoints.path(), 1, &[]);
    execute(
        &url,
        "insert into deployments (alias, version, why, deployed_at)
        values ('champion', 1, 'a test', date_trunc('hour', now()) - interval '14 hours')",
    );
    block_on(written(&url, "drift", (0..6_500).map(review).collect(), vec![]));
    execute(&url, r#"update models set metrics = '{"temperature": 2.0}'"#);
    execute(
        &url,
        "update prediction_rows set classified_at =
            date_trunc('hour', now()) - interval '14 hours' + kafka_offset * interval '1 hour' / 500",
    );
    let told = json(&succeed(&["drift", "--database-url", &url, "--json"]));
    let hours = told.as_array().unwrap();
    assert_eq!(hours.len(), 12, "{told}");
    let alarms = |hour: &Value| hour["alarms"].to_string();
    // The newest first.
    for english in &hours[..4] {
        assert!(alarms(english).contains("unknown") && alarms(english).contains("lengths"), "{english}");
    }
    for hotel in &hours[4..8] {
        assert!(alarms(hotel).contains("unknown"), "{hotel}");
    }
    for food in &hours[8..] {
        assert_eq!(alarms(food), "[]", "{food}");
    }
    // The scores' mean is 0.85; at temperature 2 the odds are their square roots.
    let scores = (0..100).map(|place| 0.7 + 0.3 * f64::from(place) / 100.0);
    let calibrated = scores.map(|score| 1.0 / (1.0 + ((1.0 - score) / score).sqrt())).sum::<f64>() / 100.0;
    let expected = hours[9]["expected_accuracy"].as_f64().unwrap();
    assert!((expected - calibrated).abs() < 0.01 && expected < 0.8, "{expected}, not {calibrated}");
    let shown = succeed(&["drift", "--database-url", &url, "--hours", "5"]);
    assert_eq!(shown.lines().count(), 7, "{shown}");
    assert!(shown.contains('!'), "{shown}");
}
