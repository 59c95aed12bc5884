//! What the consumer answers over HTTP.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use classifier::{Classes, Prediction};
use consumer::{Config, Constant, Model, ModelSource};
use harness::{Http, until, until_some};
use serde_json::{Value, json};
use store::Version;
use tokio_util::sync::CancellationToken;

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
    assert_eq!(http.predict(&json!({"inputs": [["好吃"], ["难吃"]]})), (200, json!([one, one])));
    let (_, raw) = http.predict(&json!({"inputs": "好吃", "raw_scores": true}));
    assert!((raw[0]["score"].as_f64().unwrap() - 0.75_f64.ln()).abs() < 1e-6, "{raw}");
    let long = "a".repeat(600);
    let (status, error) = http.predict(&json!({"inputs": long}));
    assert_eq!((status, &error["error"]), (413, &json!("`inputs` must have less than 512 tokens. Given: 602")));
    for direction in ["Left", "Right"] {
        let body = json!({"inputs": long, "truncate": true, "truncation_direction": direction});
        assert_eq!(http.predict(&body), (200, one.clone()));
    }
    let (status, error) = http.predict(&json!({"inputs": ""}));
    assert_eq!((status, error["error_type"].as_str()), (400, Some("empty")), "{error}");
    let (status, error) = http.predict(&json!({"inputs": "a", "return_all_scores": true}));
    assert!(status == 422 && error["error"].as_str().unwrap().contains("return_all_scores"), "{error}");
    for (body, status) in [
        ("{".to_owned(), 422),
        (json!({"inputs": 5}).to_string(), 422),
        (json!({"inputs": ["好吃", "难吃"]}).to_string(), 422),
        (json!({"inputs": []}).to_string(), 422),
        (json!({"inputs": vec![["a"]; 65]}).to_string(), 413),
        (json!({"inputs": "a".repeat(2 << 20)}).to_string(), 413),
    ] {
        let (answered, error) = http.post("/predict", None, &body);
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
        r#"labelstream_predict_requests_total{code="422"} 5"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_serves_is_told_and_every_route_stands_in_the_document() {
    let world = World::new().await;
    let http = Http::on_a_free_port();
    let consumer = world.consume(Constant::new(Version(3)), |config| config.http = http.address);
    until("readiness", async || http.get("/health/ready").0 == 200).await;
    let parse = |page: (u16, String)| serde_json::from_str::<Value>(&page.1).unwrap();
    let info = parse(http.get("/info"));
    for (name, value) in [
        ("model_id", json!("version 3")),
        ("model_sha", json!(null)),
        ("model_dtype", json!("float32")),
        ("max_input_length", json!(512)),
        ("max_client_batch_size", json!(64)),
        ("auto_truncate", json!(false)),
    ] {
        assert_eq!(info[name], value, "{name}");
    }
    let classes = json!({"id2label": {"0": "negative", "1": "positive"}, "label2id": {"negative": 0, "positive": 1}});
    assert_eq!(info["model_type"], json!({ "classifier": classes }));

    let document = parse(http.get("/docs"));
    assert_eq!(document, parse(http.get("/api-doc/openapi.json")));
    let mut paths: Vec<_> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    paths.sort_unstable();
    let routes = ["/api-doc/openapi.json", "/docs", "/health/live", "/health/ready", "/info", "/metrics", "/predict"];
    assert_eq!(paths, routes);
    for path in paths {
        assert_ne!(http.get(path).0, 404, "{path}");
    }
    let fields = &document["components"]["schemas"]["Request"]["properties"];
    for field in ["inputs", "truncate", "truncation_direction", "raw_scores"] {
        assert!(fields[field].is_object(), "{field} is not in {fields}");
    }
    consumer.stop().await;
}

/// Takes its time for each text, as a model does.
struct Slow {
    constant: Constant,
    a_text: Duration,
    /// Texts so far, the canary's included.
    seen: Arc<AtomicUsize>,
}

impl Slow {
    fn new(milliseconds: u64) -> Self {
        Self { constant: Constant::new(Version(1)), a_text: Duration::from_millis(milliseconds), seen: Arc::default() }
    }
}

impl Model for Slow {
    fn classes(&self) -> &Classes {
        self.constant.classes()
    }

    fn max_length(&self) -> usize {
        self.constant.max_length()
    }

    fn version(&self) -> Version {
        self.constant.version()
    }

    fn classify(&mut self, texts: &[&str]) -> anyhow::Result<Vec<Prediction>> {
        self.seen.fetch_add(texts.len(), Ordering::Relaxed);
        std::thread::sleep(self.a_text * texts.len() as u32);
        self.constant.classify(texts)
    }
}

/// Asks at the same time so often, and counts the statuses.
async fn ask(http: Http, times: usize, body: Value) -> BTreeMap<u16, usize> {
    let ask = move |body: Value| http.predict(&body).0;
    let requests: Vec<_> = (0..times)
        .map(|_| {
            tokio::task::spawn_blocking({
                let body = body.clone();
                move || ask(body)
            })
        })
        .collect();
    let mut statuses = BTreeMap::new();
    for request in requests {
        *statuses.entry(request.await.unwrap()).or_insert(0) += 1;
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_clients_are_answered_and_more_texts_than_the_queue_holds_are_told_to_come_back() {
    let world = World::new().await;
    let http = Http::on_a_free_port();
    let consumer = world.consume(Slow::new(2), |config| config.http = http.address);
    until("readiness", async || http.get("/health/ready").0 == 200).await;
    assert_eq!(ask(http, 100, json!({"inputs": "a"})).await, BTreeMap::from([(200, 100)]));
    let statuses = ask(http, 40, json!({"inputs": vec![["a"]; 64]})).await;
    assert!(statuses[&200] >= 16 && statuses[&429] > 0 && statuses.len() == 2, "{statuses:?}");
    assert_eq!(http.predict(&json!({"inputs": "a"})).0, 200, "its places are free again");
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_texts_of_clients_that_have_hung_up_are_not_labeled() {
    let world = World::new().await;
    let http = Http::on_a_free_port();
    let model = Slow::new(10);
    let seen = model.seen.clone();
    let consumer = world.consume(model, |config| config.http = http.address);
    until("readiness", async || http.get("/health/ready").0 == 200).await;
    let body = json!({"inputs": vec![["a".repeat(62)]; 64]}).to_string();
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let mut client = TcpStream::connect(http.address).unwrap();
            let length = body.len();
            let head = format!("POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
            client.write_all(head.as_bytes()).unwrap();
            client.write_all(body.as_bytes()).unwrap();
            client
        })
        .collect();
    until("the first texts", async || seen.load(Ordering::Relaxed) > 10).await;
    drop(clients);
    // 640 texts take 6.4 s.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(seen.load(Ordering::Relaxed) < 400, "{seen:?} texts were labeled");
    assert_eq!(http.predict(&json!({"inputs": "a"})).0, 200);
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_clients_that_never_stop_the_stream_keeps_its_half_and_each_client_is_answered() {
    const CLIENTS: usize = 8;
    let world = World::new().await;
    let http = Http::on_a_free_port();
    // Two thousand texts a second, were it not for the other half: the time is the model's alone.
    let consumer = world.consume(Slow::new(2), |config| config.http = http.address);
    until("readiness", async || http.get("/health/ready").0 == 200).await;
    world.publish_reviews(20_000);
    let records = || http.metric("labelstream_records_total").unwrap_or(0.0);
    until("the first records", async || records() > 500.0).await;
    let rate = async |seconds: u64| {
        let (before, started) = (records(), Instant::now());
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        (records() - before) / started.elapsed().as_secs_f64()
    };
    let alone = rate(6).await;

    let stop = CancellationToken::new();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let stop = stop.clone();
            tokio::task::spawn_blocking(move || {
                let mut took = Vec::new();
                while !stop.is_cancelled() {
                    let started = Instant::now();
                    let (status, answer) = http.predict(&json!({"inputs": vec![["a"]; 64]}));
                    assert_eq!(status, 200, "{answer}");
                    took.push(started.elapsed());
                }
                took
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let beside = rate(10).await;
    assert_eq!((http.get("/health/live").0, http.get("/health/ready").0), (200, 200));
    stop.cancel();
    let mut all = Vec::new();
    for client in clients {
        let took = client.await.unwrap();
        let longest = took.iter().max().expect("an answer for everybody");
        assert!(took.len() >= 3 && *longest < Duration::from_secs(15), "{took:?}");
        all.extend(took);
    }
    all.sort_unstable();
    let percentile = |share: usize| all[(all.len() - 1) * share / 100];
    println!(
        "{alone:.0} records/s alone, {beside:.0} beside {CLIENTS} clients, whose {} requests took {:.1?} (p50) and {:.1?} (p99)",
        all.len(),
        percentile(50),
        percentile(99)
    );
    // Its share is 0.6; the writes come in bursts.
    assert!(beside > 0.45 * alone && beside < 0.9 * alone, "{beside} of {alone}");
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
