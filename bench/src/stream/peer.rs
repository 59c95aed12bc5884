//! Another program that does the same work on the same servers.

use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::measure::Setup;

/// Runs the command and returns the JSON object in its last line.
pub async fn run(command: &str, setup: &Setup<'_>, group: &str, records: usize) -> anyhow::Result<Value> {
    let output = Command::new("sh")
        .args(["-c", command])
        .env("BROKERS", &setup.kafka.brokers)
        .env("TOPIC", setup.topic)
        .env("GROUP", group)
        .env("DATABASE_URL", setup.database_url)
        .env("COUNT", records.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .context("the peer cannot be started")?;
    ensure!(output.status.success(), "the peer failed: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let said: Value =
        serde_json::from_str(text.lines().last().unwrap_or_default()).context("the peer's last line is not JSON")?;
    rate(&said).context("the peer says no records_per_second")?;
    Ok(said)
}

/// What the peer reached.
pub fn rate(peer: &Value) -> Option<f64> {
    peer["records_per_second"].as_f64()
}
