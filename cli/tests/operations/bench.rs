//! `labelstream bench`: the figures that others read.

use std::fs;
use std::path::{Path, PathBuf};

use harness::postgres;
use stack::Kafka;

use super::program::{json, run, save_tiny_model, succeed};

/// 60 labeled texts, no two the same.
fn reviews(file: PathBuf) -> String {
    let rows = (0..60).map(|row| format!("{},很快，好吃{}\n", row % 2, "不".repeat(row)));
    fs::write(&file, "label,text\n".to_owned() + &rows.collect::<String>()).unwrap();
    file.to_str().unwrap().to_owned()
}

fn tiny_model(directory: &Path) -> String {
    save_tiny_model(&directory.join("model"), 1);
    directory.join("model").to_str().unwrap().to_owned()
}

fn fields<'a>(figures: &serde_json::Value, of: &'a str) -> Vec<&'a str> {
    of.split_whitespace().filter(|field| figures[*field].is_null()).collect()
}

#[test]
fn bench_engine_prints_rates_and_percentiles_as_one_json_object() {
    let directory = tempfile::tempdir().unwrap();
    let (model, texts) = (tiny_model(directory.path()), reviews(directory.path().join("reviews.csv")));
    for precision in ["f32", "int8"] {
        let arguments = ["bench", "engine", "--checkpoint", &model, "--texts", &texts, "--count", "40"];
        let more = ["--batch-size", "8", "--device", "cpu", "--precision", precision];
        let figures = json(&succeed(&[&arguments[..], &more].concat()));
        let missing = fields(
            &figures,
            "texts tokens seconds texts_per_second tokens_per_second batch_size batch_milliseconds processor_seconds
            gflops peak_gflops share_of_peak precision threads device instructions peak_memory_mib checkpoint version",
        );
        assert_eq!(missing, Vec::<&str>::new(), "{figures}");
        assert_eq!((figures["texts"].as_u64(), figures["batch_size"].as_u64()), (Some(40), Some(8)));
        assert_eq!(figures["precision"], precision);
        let milliseconds = |name: &str| figures["batch_milliseconds"][name].as_f64().unwrap();
        assert!(0.0 < milliseconds("p50") && milliseconds("p50") <= milliseconds("p95"));
        assert!(milliseconds("p95") <= milliseconds("p99"));
    }
}

#[test]
fn bench_train_prints_the_rate_of_its_steps_as_one_json_object() {
    let directory = tempfile::tempdir().unwrap();
    let model = tiny_model(directory.path());
    reviews(directory.path().join("train_data.csv"));
    reviews(directory.path().join("valid_data.csv"));
    let data = directory.path().to_str().unwrap();
    // Long enough for the processor's clock, which ticks 100 times a second.
    let arguments = ["bench", "train", "--data", data, "--base", &model, "--steps", "100", "--batch-size", "8"];
    let figures = json(&succeed(&[&arguments[..], &["--device", "cpu"]].concat()));
    let missing = fields(
        &figures,
        "steps texts tokens seconds texts_per_second tokens_per_second gflop_per_second processor_seconds
        texts_per_processor_second step_milliseconds mean_loss batch_size threads precision device instructions base
        layers hidden_size version",
    );
    assert_eq!(missing, Vec::<&str>::new(), "{figures}");
    assert_eq!(figures["steps"].as_u64(), Some(100));
    // The last batch of an epoch is smaller.
    assert!((700..=800).contains(&figures["texts"].as_u64().unwrap()), "{figures}");
}

#[test]
fn bench_stream_prints_the_rate_and_the_latency_of_what_is_in_postgres_as_one_json_object() {
    // The broker in this process makes no topics when it is asked to.
    if stack::kafka_cannot_run() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let texts = reviews(directory.path().join("reviews.csv"));
    let (kafka, database) = (Kafka::start().unwrap(), postgres().create_database("bench_stream").unwrap());
    let arguments = ["bench", "stream", "--constant", "--reviews", &texts, "--count", "300", "--latency-seconds", "1"];
    let servers = ["--brokers", kafka.brokers(), "--database-url", &database];
    let figures = json(&succeed(&[&arguments[..], &servers].concat()));
    let missing =
        fields(&figures, "records partitions model records_per_second rounds verified threads device postgres");
    assert_eq!(missing, Vec::<&str>::new(), "{figures}");
    assert_eq!((figures["records"].as_u64(), figures["model"].as_str()), (Some(300), Some("constant")));
    assert!(figures["rounds"][0]["latency"]["milliseconds"]["p99"].as_f64().unwrap() > 0.0, "{figures}");
}

#[test]
fn bench_has_the_benchmarks_that_anybody_may_ask_for_and_no_others() {
    let help = succeed(&["bench", "--help"]);
    for name in ["engine", "stream", "train"] {
        assert!(help.contains(&format!("\n  {name} ")), "{name} is not in: {help}");
    }
    assert_eq!(run(&["bench", "swap"]).status.code(), Some(2));
}
