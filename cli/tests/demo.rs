//! What a newcomer sees first.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashSet;
use std::process::Command;

use serde_json::Value;

#[test]
fn the_demo_labels_each_review_once_and_better_after_people_have_labeled_some() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_labelstream"));
    let output = demo.args(["demo", "--exit", "--json", "--rate", "200"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("labelstream publish - --brokers 127.0.0.1:") && told.contains("psql postgres://"), "{told}");
    assert!(told.contains("-- round 1 begins") && told.contains("labels from here on"), "{told}");

    let output = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    let ids: HashSet<&str> = lines.iter().filter_map(|line| line["review_id"].as_str()).collect();
    assert!(lines.len() > 4_000 && ids.len() == lines.len(), "{} lines about {} reviews", lines.len(), ids.len());
    assert_eq!(summary["labeled"], lines.len());

    // The champion has changed under the stream, and none of the reviews was learned from before it
    // was labeled.
    let versions = summary["versions"].as_array().unwrap();
    let accuracy = |version: &Value| version["accuracy"].as_f64().unwrap();
    let (first, last) = (accuracy(&versions[0]), accuracy(versions.last().unwrap()));
    assert!(versions.len() >= 2 && first > 0.6 && last > first + 0.03, "{told}\n{summary}");
    let rounds = summary["rounds"].as_array().unwrap();
    assert!(rounds.iter().filter(|round| round["verdict"] == "accepted").count() >= 2, "{told}");
}
