//! What a service logs, and how: the filter and the format each have one variable.

use std::process::Command;

use serde_json::Value;

/// Checks it by the log of a start that ends at once, for want of a database.
pub fn check_log_variables(service: impl Fn() -> Command) {
    let log = |variables: &[(&str, &str)]| -> Vec<String> {
        let output = service()
            .args(["--database-url", "nonsense", "--checkpoints", "/nowhere", "--http", "127.0.0.1:0"])
            .env("RUST_LOG", "trace")
            .envs(variables.iter().copied())
            .output()
            .expect("the service can be run");
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).expect("the log is text").lines().map(str::to_owned).collect()
    };
    let usual = log(&[]);
    assert!(usual.len() > 1 && usual.iter().all(|line| line.contains("INFO") || line.contains("ERROR")), "{usual:?}");
    assert_eq!(log(&[("LABELSTREAM_LOG", "error")]).len(), 1);
    assert!(log(&[("LABELSTREAM_LOG", "off")]).is_empty());
    // A filter that speaks of another part alone does not hide why the service ended.
    let why = log(&[("LABELSTREAM_LOG", "another_part=debug")]);
    assert!(why.last().is_some_and(|line| line.starts_with("error: ")), "{why:?}");

    let lines = log(&[("LABELSTREAM_LOG_FORMAT", "json")]);
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(lines.len(), usual.len());
    assert!(lines.iter().all(|line| line["level"].is_string() && line["message"].is_string()), "{lines:?}");
    assert_eq!(lines.last().map(|line| &line["level"]), Some(&"ERROR".into()));
}
