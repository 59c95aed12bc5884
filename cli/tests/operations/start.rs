//! What all commands have in common: the log, and Kafka's secrets.

use serde_json::Value;

use crate::program::{KAFKA, labelstream, migrated_database};

/// What a command writes to standard error, with these variables.
fn complaints(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = labelstream(arguments).envs(variables.iter().copied()).output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_log_has_one_variable_for_its_filter_and_a_format_for_machines() {
    let command = ["publish", "-", "--brokers", "127.0.0.1:1", "--patience", "1"];
    let quiet = complaints(&command, &[("RUST_LOG", "debug")]);
    assert!(quiet.starts_with("error: ") && quiet.lines().count() == 1, "{quiet}");
    assert!(complaints(&command, &[("LABELSTREAM_LOG", "debug")]).lines().count() > 1);

    let json = complaints(&[&command[..], &["--log-format", "json", "--log", "debug"]].concat(), &[]);
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 1 && lines.iter().all(|line| line["message"].is_string()), "{json}");
    assert_eq!(lines.last().unwrap()["level"], "ERROR");
}

#[test]
fn a_filter_or_a_format_that_makes_no_sense_is_wrong_usage() {
    for flags in [["--log", "consumer=loud"], ["--log-format", "xml"]] {
        assert_eq!(labelstream(&[&["doctor"][..], &flags].concat()).output().unwrap().status.code(), Some(2));
    }
}

#[test]
fn kafkas_variables_reach_the_client_of_every_command_and_no_password_is_shown() {
    let database = migrated_database("kafkas_variables");
    let reviews = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/reviews.csv");
    let commands = [
        &["publish", "-"][..],
        &["status", "--database-url", &database],
        &["doctor"],
        &["dead-letters", "replay", "--database-url", &database],
        &["demo", "--database-url", &database],
        &["bench", "stream", "--constant", "--reviews", reviews, "--database-url", &database],
    ];
    // librdkafka says that it has no such mechanism only where it is told the protocol as well.
    let variables = [
        ("LABELSTREAM_KAFKA_SECURITY_PROTOCOL", "sasl_plaintext"),
        ("LABELSTREAM_KAFKA_SASL_MECHANISM", "NO-SUCH-MECHANISM"),
        ("LABELSTREAM_KAFKA_SASL_PASSWORD", "hunter2"),
        ("LABELSTREAM_LOG", "debug"),
    ];
    for command in commands {
        let command = [command, &["--brokers", KAFKA.brokers(), "-X", "sasl.username=hunter2"]].concat();
        let output = labelstream(&command).envs(variables).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("NO-SUCH-MECHANISM"), "{command:?}: {said}");
        assert!(!said.contains("hunter2"), "{command:?}: {said}");
    }
}
