//! How fast the engine is, how much of that the stream keeps, and how fast a model learns: what
//! `labelstream bench` runs.
//!
//! The binary `bench` of this package has the benchmarks that only developers need. README.md says
//! how each figure is made.

pub mod engine;
pub mod train;

pub mod stream;

pub mod measure;
pub mod servers;
pub mod texts;

use serde_json::Value;

/// What to measure. Prints one JSON object.
#[derive(clap::Subcommand)]
pub enum Command {
    /// The engine alone: texts in memory to labels in memory.
    Engine(engine::Arguments),
    /// The whole way: records in Kafka to rows in Postgres.
    Stream(stream::Arguments),
    /// The steps of a training: texts in memory to new weights.
    Train(train::Arguments),
}

/// Runs the command and returns its figures.
pub async fn run(command: Command) -> anyhow::Result<Value> {
    match command {
        Command::Engine(arguments) => tokio::task::spawn_blocking(|| engine::run(arguments)).await?,
        Command::Stream(arguments) => stream::run(arguments).await,
        Command::Train(arguments) => tokio::task::spawn_blocking(|| train::run(arguments)).await?,
    }
}
