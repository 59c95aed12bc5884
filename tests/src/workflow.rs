//! From a CSV of labeled reviews to rows in Postgres, typed as a person types it.

use std::fs;
use std::path::Path;

use harness::{TINY_CLASSES, save_tiny_model, until};
use serde_json::Value;
use sqlx::query_as;

use crate::programs::labelstream;
use crate::site::Site;

/// Runs a command that must succeed and returns what it printed.
fn typed(arguments: &[&str]) -> String {
    let output = labelstream(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "labelstream {}\n{out}\n{err}", arguments.join(" "));
    out.into_owned()
}

fn parsed(arguments: &[&str]) -> Value {
    let printed = typed(arguments);
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error} in {printed}"))
}

/// Reviews that even a tiny model can tell apart; 1 is good. Some rows cannot be used.
fn write_reviews(file: &Path) {
    let mut csv = String::from("\u{feff}label,review\n");
    for number in 0..400 {
        csv += &format!("1,{number} 很快，好吃\n0,太慢了，不来 {number}\n");
    }
    csv += "1,\n,没有\n1,0 很快 好吃！\n0,7 很快，好吃\n";
    fs::write(file, csv).expect("the file can be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_csv_becomes_a_champion_and_published_reviews_become_rows() {
    let site = Site::bare("workflow", 2).await;
    let path = |name: &str| site.path(name).display().to_string();
    let (csv, data, out, tiny) = (path("reviews.csv"), path("data"), path("model"), path("tiny"));
    write_reviews(Path::new(&csv));
    save_tiny_model(Path::new(&tiny), &TINY_CLASSES, 1);

    // From a CSV to a model.
    let report = parsed(&["prepare", &csv, "--out", &data, "--labels", "negative,positive", "--json"]);
    assert_eq!((&report["rows"], &report["kept"]), (&804.into(), &799.into()), "{report}");
    let train = [
        "train",
        "--data",
        &data,
        "--base",
        &tiny,
        "--out",
        &out,
        "--epochs",
        "4",
        "--learning-rate",
        "3e-3",
        "--device",
        "cpu",
        "--json",
    ];
    parsed(&train);
    let test = format!("{data}/test_data.csv");
    let figures = parsed(&["evaluate", "--checkpoint", &out, "--data", &test, "--json"]);
    let accuracy = figures["accuracy"].as_f64().expect("an accuracy");
    assert!(accuracy > 0.95, "the model has learned nothing: {figures}");
    let lines =
        typed(&["classify", "--checkpoint", &out, "--text", "很快，好吃", "--text", "太慢了，不来", "--scores"]);
    let labels: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["label"].clone()).collect();
    assert_eq!(labels, ["positive", "negative"]);

    // From a model to a champion.
    let database = ["--database-url", &site.database];
    typed(&[&["migrate"], &database[..]].concat());
    let checkpoints = site.checkpoints();
    let register = [&["models", "register", &out, "--checkpoints", &checkpoints, "--json"], &database[..]].concat();
    assert_eq!(parsed(&register)["version"], 1);
    typed(&[&["models", "promote", "1"], &database[..]].concat());
    let listed = parsed(&[&["models", "list", "--json"], &database[..]].concat());
    assert_eq!((&listed[0]["version"], &listed[0]["champion"]), (&1.into(), &true.into()), "{listed}");

    // From published reviews to rows.
    let mut consumer = site.consumer("consumer", &[]);
    consumer.until_ready().await;
    let stream = ["--brokers", &site.brokers, "--topic", &site.topic];
    let published = parsed(&[&["publish", &test, "--json"], &stream[..]].concat());
    let count = published["published"].as_i64().expect("a count");
    until("the rows", async || site.done().await == count).await;
    let rows: Vec<(String, i64)> =
        query_as("select label, count(*) from predictions where version = 1 group by label order by label")
            .fetch_all(&site.pool)
            .await
            .expect("the database answers");
    assert_eq!(rows.iter().map(|row| row.1).sum::<i64>(), count);
    assert_eq!(rows.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ["negative", "positive"]);

    // What people look at.
    let status = [&["status", "--json", "--pipeline", &site.topic, "--brokers", &site.brokers], &database[..]].concat();
    let status = parsed(&status);
    assert_eq!((&status["lag"], &status["champion"]), (&0.into(), &1.into()), "{status}");
    let doctor =
        [&["doctor", "--checkpoints", &checkpoints, "--device", "cpu", "--json"], &stream[..], &database[..]].concat();
    let findings = parsed(&doctor);
    let failed = findings.as_array().expect("a list").iter().filter(|finding| finding["outcome"] == "fail");
    assert_eq!(failed.count(), 0, "{findings}");
    typed(&[&["models", "register", &tiny, "--checkpoints", &checkpoints, "--promote"], &database[..]].concat());
    let again = typed(&[&["models", "rollback"], &database[..]].concat());
    assert!(again.contains("version 1"), "{again}");
}
