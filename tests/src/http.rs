//! Health, metrics and predictions over HTTP.

use harness::{TINY_CLASSES, until};
use serde_json::{Value, json};

use crate::records::Message;
use crate::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_and_predictions_are_served() {
    let site = Site::new("http", 1).await;
    let sent = site.open_topic().publish(&Message::mixed(200)).await;
    let mut consumer = site.consumer("consumer", &[]);
    consumer.until_ready().await;
    assert_eq!(consumer.get("/health/live").0, 200);
    assert_eq!(consumer.get("/nothing").0, 404);
    site.until_done(&sent).await;

    until("the counters", async || consumer.metric("labelstream_records_total") == Some(200.0)).await;
    let predictions = site.number("select count(*) from predictions").await.expect("the database answers");
    assert_eq!(consumer.metric("labelstream_predictions_total"), Some(predictions as f64));
    for name in ["kafka_up", "database_up", "model_up", "assigned_partitions"] {
        assert_eq!(consumer.metric(&format!("labelstream_{name}")), Some(1.0), "{name}");
    }
    let (_, page) = consumer.get("/metrics");
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("labelstream_"), "{line}");
    }
    for name in ["inference_seconds_bucket", "write_seconds_bucket", "latency_seconds_bucket", "lag"] {
        assert!(page.contains(&format!("labelstream_{name}")), "{name} is missing from\n{page}");
    }

    let (status, one) = consumer.predict(&json!({"inputs": "很快，好吃"}));
    assert_eq!(status, 200, "{one}");
    check_scores(&one);
    let (status, several) = consumer.predict(&json!({"inputs": [["很快，好吃"], ["太慢了"]]}));
    assert_eq!((status, several.as_array().map(Vec::len)), (200, Some(2)), "{several}");
    assert_eq!(several[0], one, "one text and the same in a batch must agree");
    check_scores(&several[1]);

    let (status, raw) = consumer.predict(&json!({"inputs": "很快，好吃", "raw_scores": true}));
    let powers: Vec<f64> = raw.as_array().expect("a list").iter().map(|one| number(&one["score"]).exp()).collect();
    assert_eq!(status, 200, "{raw}");
    for (power, scored) in powers.iter().zip(one.as_array().expect("a list")) {
        let probability = power / powers.iter().sum::<f64>();
        assert!((probability - number(&scored["score"])).abs() < 1e-5, "{raw} of {one}");
    }
    let (_, info) = consumer.get("/info");
    let info: Value = serde_json::from_str(&info).expect("JSON");
    let most = info["max_input_length"].as_u64().expect("a number");
    let long = "好".repeat(2 * most as usize);
    assert_eq!(consumer.predict(&json!({"inputs": long})).0, 413);
    assert_eq!(consumer.predict(&json!({"inputs": long, "truncate": true})).0, 200);
}

fn number(json: &Value) -> f64 {
    json.as_f64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_served_say_why() {
    let site = Site::new("http_refused", 1).await;
    let mut consumer = site.consumer("consumer", &[]);
    consumer.until_ready().await;
    let many = json!({"inputs": vec![["好吃"]; 10_000]});
    for (request, expected) in
        [(many, 413), (json!({"inputs": 5}), 422), (json!({"inputs": []}), 422), (json!({}), 422)]
    {
        let (status, answer) = consumer.predict(&request);
        assert_eq!(status, expected, "{answer}");
        assert!(answer["error"].is_string() && answer["error_type"].is_string(), "{answer}");
    }
    // Just over a megabyte. A server that has read enough hangs up, and then the answer may be lost
    // on its way.
    let big = json!({"inputs": "好".repeat(350_000)});
    until("the refusal of a body that is too large", async || {
        let (status, answer) = consumer.predict(&big);
        assert!([0, 413].contains(&status), "{status} {answer}");
        status == 413
    })
    .await;
    assert_eq!(consumer.post("/predict", None, "no json").0, 422);
    assert_eq!(consumer.predict(&json!({"inputs": "好吃"})).0, 200);
}

/// Every label once, probabilities, the likelier first.
fn check_scores(scored: &Value) {
    let scored = scored.as_array().expect("a list of labels");
    let mut labels: Vec<&str> = scored.iter().filter_map(|one| one["label"].as_str()).collect();
    labels.sort_unstable();
    assert_eq!(labels, TINY_CLASSES);
    let scores: Vec<f64> = scored.iter().filter_map(|one| one["score"].as_f64()).collect();
    assert!(scores.is_sorted_by(|one, other| one >= other), "{scores:?}");
    assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{scores:?}");
}
