//! What the consumer answers over HTTP.

use std::collections::BTreeMap;

use classifier::{Classes, Prediction};
use consumer::{Config, Constant, Model, ModelSource};
use harness::{Http, until, until_some};
use serde_json::{Value, json};
use store::Version;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_consumer_predicts_and_counts() {
    let world = World::new().await;
    let http = Http::on_a_free_port();
    let consumer = world.consume(Constant::new(Version(3)), |config| config.http = http.address);
    until("readiness", async || http.get("/health/ready").0 == 200).await;
    assert_eq!(http.get("/health/live").0, 200);

    let one = json!([{"label": "positive", "score": 0.75}, {"label": "negative", "score": 0.25}]);
    assert_eq!(http.predict(&json!({"inputs": "好吃"})), (200, one.clone()));
    assert_eq!(http.predict(&json!({"inputs": ["好吃", "难吃"]})), (200, json!([one, one])));
    for (body, status) in [
        ("{".to_owned(), 422),
        (json!({"inputs": 5}).to_string(), 422),
        (json!({"inputs": ""}).to_string(), 422),
        (json!({"inputs": []}).to_string(), 422),
        (json!({"inputs": vec!["a"; 65]}).to_string(), 413),
        (json!({"inputs": "a".repeat(2 << 20)}).to_string(), 413),
    ] {
        // A server that has read enough hangs up, and then the answer may be lost on its way.
        let (answered, error) = until_some("an answer", async || {
            Some(http.post("/predict", None, &body)).filter(|(status, _)| *status != 0)
        })
        .await;
        assert_eq!(answered, status, "{error}");
        assert_eq!(error["error_type"], "validation", "{error}");
    }

    world.publish_reviews(10);
    world.publish([Some(&b"bad"[..])]);
    world.until_written(11).await;
    let (_, metrics) = http.get("/metrics");
    for line in [
        "labelstream_records_total 11",
        r#"labelstream_predictions_total{label="positive"} 10"#,
        r#"labelstream_dead_letters_total{reason="not_json"} 1"#,
        "labelstream_database_up 1",
        "labelstream_kafka_up 1",
        "labelstream_model_up 1",
        r#"labelstream_model_info{version="3",device="auto"} 1"#,
        "labelstream_all_records_bad 0",
        r#"labelstream_predict_requests_total{code="422"} 4"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    consumer.stop().await;
}

/// Takes its time.
struct Slow(Constant);

impl Model for Slow {
    fn classes(&self) -> &Classes {
        self.0.classes()
    }

    fn max_length(&self) -> usize {
        self.0.max_length()
    }

    fn version(&self) -> Version {
        self.0.version()
    }

    fn classify(&mut self, texts: &[&str]) -> anyhow::Result<Vec<Prediction>> {
        std::thread::sleep(std::time::Duration::from_millis(100));
        self.0.classify(texts)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_the_queue_holds_are_told_to_come_back() {
    let world = World::new().await;
    let http = Http::on_a_free_port();
    let consumer = world.consume(Slow(Constant::new(Version(1))), |config| config.http = http.address);
    until("readiness", async || http.get("/health/ready").0 == 200).await;
    let ask = move || http.predict(&json!({"inputs": "a"})).0;
    let requests: Vec<_> = (0..60).map(|_| tokio::task::spawn_blocking(ask)).collect();
    let mut statuses = BTreeMap::new();
    for request in requests {
        *statuses.entry(request.await.unwrap()).or_insert(0) += 1;
    }
    assert!(statuses[&200] >= 32 && statuses[&429] > 0 && statuses.len() == 2, "{statuses:?}");
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_champion_the_consumer_waits_and_says_so() {
    let world = World::new().await;
    let http = Http::on_a_free_port();
    let consumer = world.start(Config { http: http.address, ..world.config() }, ModelSource::Registry);
    let ready = until_some("an answer that names the model", async || {
        let (status, body) = http.get("/health/ready");
        let body: Value = serde_json::from_str(&body).ok()?;
        assert_eq!(status, 503);
        (body["database"] == "ok").then_some(body)
    })
    .await;
    assert_eq!(ready["model"], "waiting for a champion");
    let (status, error) = http.predict(&json!({"inputs": "a"}));
    assert_eq!((status, error["error_type"].as_str()), (503, Some("unhealthy")));
    consumer.stop().await;
}
