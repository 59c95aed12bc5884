//! The benchmarks as a person runs them, on small counts: what they print, not how fast they are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::process::{Command, Stdio};

fn bench(arguments: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_bench");
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_benchmark_says_what_it_measures() {
    let help = bench(&["--help"]);
    for name in ["swap", "write-rate", "budgets", "gate"] {
        assert!(help.contains(&format!("\n  {name} ")), "{name} is not in: {help}");
        assert!(bench(&[name, "--help"]).contains("Usage: bench"));
    }
}

#[test]
fn the_gate_is_simulated_in_four_tables_of_six_sizes() {
    let tables = bench(&["gate", "--pairs", "2"]);
    assert_eq!(tables.matches("###").count(), 4);
    assert_eq!(tables.lines().filter(|line| line.starts_with("| ") && line.ends_with("% |")).count(), 4 * 6);
}

#[test]
fn budgets_are_measured_from_a_hundred_labels_to_all_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("reviews.csv");
    let rows = (0..300).map(|row| match row % 2 {
        0 => format!("0,太慢了，第{row}次\n"),
        _ => format!("1,很好吃，第{row}次\n"),
    });
    fs::write(&file, "label,review\n".to_owned() + &rows.collect::<String>()).unwrap();
    let table = bench(&["budgets", file.to_str().unwrap()]);
    let budgets: Vec<&str> = table.lines().skip(2).take(5).map(|line| line.split(" | ").next().unwrap()).collect();
    assert_eq!(budgets, ["| 100", "| 300", "| 1000", "| 3000", "| all"]);
    assert!(table.contains("300 texts"));
}

#[test]
fn rows_are_written_by_copy_and_by_unnest_from_one_connection_and_from_two() {
    let table = bench(&["write-rate", "--rows", "20000"]);
    for way in ["copy", "unnest"] {
        assert_eq!(table.lines().filter(|line| line.starts_with(way)).count(), 4, "{table}");
    }
}
