//! What a newcomer sees first.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashSet;
use std::process::Command;

use serde_json::Value;

#[test]
fn the_demo_labels_each_review_once_and_most_of_them_rightly() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_labelstream"));
    let output = demo.args(["demo", "--exit", "--json", "--rate", "200"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("labelstream publish - --brokers 127.0.0.1:") && told.contains("psql postgres://"), "{told}");

    let output = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    let ids: HashSet<&str> = lines.iter().filter_map(|line| line["review_id"].as_str()).collect();
    assert!(lines.len() > 500 && ids.len() == lines.len(), "{} lines about {} reviews", lines.len(), ids.len());
    assert_eq!(summary["labeled"], lines.len());
    // None of them was learned from; always the same answer would be right on little more than half.
    assert!(summary["accuracy"].as_f64().unwrap() > 0.85, "{summary}");
}
