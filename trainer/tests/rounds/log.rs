//! What the program logs, and how: the filter and the format each have one variable.

use std::process::Command;

/// The log of a start that ends at once: the database's URL is none.
fn log_of_a_failed_start(variables: &[(&str, &str)]) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(["--database-url", "nonsense", "--checkpoints", "/nowhere", "--http", "127.0.0.1:0"])
        .env_remove("LABELSTREAM_LOG")
        .env_remove("LABELSTREAM_LOG_FORMAT")
        .env("RUST_LOG", "trace")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_log_has_one_variable_for_its_filter_and_one_for_its_format() {
    let usual = log_of_a_failed_start(&[]);
    assert!(usual.len() > 1 && usual.iter().all(|line| line.contains("INFO") || line.contains("ERROR")), "{usual:?}");
    assert_eq!(log_of_a_failed_start(&[("LABELSTREAM_LOG", "error")]).len(), 1);
    assert!(log_of_a_failed_start(&[("LABELSTREAM_LOG", "off")]).is_empty());

    let lines = log_of_a_failed_start(&[("LABELSTREAM_LOG_FORMAT", "json")]);
    let lines = lines.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), usual.len());
    assert!(lines.iter().all(|line| line["level"].is_string() && line["message"].is_string()), "{lines:?}");
    assert_eq!(lines.last().unwrap()["level"], "ERROR");
}
