//! `labelstream doctor`: everything the stream stands on, checked, with what to do about what
//! fails.

mod checks;
mod kafka;
mod places;
mod training;

use std::path::PathBuf;
use std::process::ExitCode;

use classifier::DeviceChoice;
use service::{KafkaSettings, Secret};
use trainer::Base;

use crate::print;

/// Flags of `labelstream doctor`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Kafka's bootstrap servers, as host:port,host:port.
    #[arg(long, env = "LABELSTREAM_BROKERS", value_name = "HOST:PORT,...")]
    brokers: Option<String>,

    #[command(flatten)]
    kafka: KafkaSettings,

    /// The topic of the reviews.
    #[arg(long, env = "LABELSTREAM_TOPIC", default_value = "reviews")]
    topic: String,

    /// The group in which the consumers read.
    #[arg(long, env = "LABELSTREAM_GROUP", default_value = "labelstream")]
    group: String,

    /// The name of the stream in Postgres [default: the group].
    #[arg(long, env = "LABELSTREAM_PIPELINE")]
    pipeline: Option<String>,

    /// Postgres, as postgres://user:password@host:port/database.
    #[arg(long, env = "LABELSTREAM_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<Secret>,

    /// Where checkpoints are kept: file:///directory, or a URL of an object store.
    #[arg(long, env = "LABELSTREAM_CHECKPOINTS", value_name = "URL")]
    checkpoints: Option<String>,

    /// Where the model is to run: auto, cpu, cuda or cuda:N.
    #[arg(long, env = "LABELSTREAM_DEVICE", default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,

    /// The consumer's directory for fetched checkpoints; without it, its usual one.
    #[arg(long, env = "LABELSTREAM_CACHE", value_name = "DIRECTORY")]
    cache: Option<PathBuf>,

    /// What the trainer starts from: a checkpoint directory, or `new`.
    #[arg(long, env = "LABELSTREAM_BASE", default_value_t = Base::New, value_name = "DIR")]
    base: Base,

    /// The trainer's directory for the state of a running round; without it, its usual one.
    #[arg(long, env = "LABELSTREAM_WORK", value_name = "DIRECTORY")]
    work: Option<PathBuf>,

    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

/// What became of one check.
#[derive(serde::Serialize)]
pub struct Finding {
    check: &'static str,
    outcome: Outcome,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Warn,
    Fail,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Ok, detail: detail.into(), advice: None }
    }

    fn warn(check: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, outcome: Outcome::Warn, detail: detail.into(), advice: Some(advice.into()) }
    }

    fn fail(check: &'static str, detail: impl std::fmt::Display, advice: impl Into<String>) -> Self {
        // `{:#}` shows the causes of an error too.
        Self { check, outcome: Outcome::Fail, detail: format!("{detail:#}"), advice: Some(advice.into()) }
    }
}

/// Runs the command: exit code 1 if any check fails.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let findings = checks::all(&arguments).await;
    if arguments.json {
        print::json(&findings)?;
    } else {
        findings.iter().for_each(show);
    }
    let failed = findings.iter().any(|finding| finding.outcome == Outcome::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(finding: &Finding) {
    let outcome = match finding.outcome {
        Outcome::Ok => "ok  ",
        Outcome::Warn => "warn",
        Outcome::Fail => "FAIL",
    };
    println!("{outcome}  {:<11}  {}", finding.check, finding.detail);
    if let Some(advice) = &finding.advice {
        println!("{:19}-> {advice}", "");
    }
}
