//! `labelstream bench`: how fast the engine is, how much of that the stream keeps, and how fast a model learns.

mod engine;
mod servers;
mod stream;
mod swap;
mod train;

/// What to measure. Prints one JSON object.
#[derive(clap::Subcommand)]
pub enum Command {
    /// The engine alone: texts in memory to labels in memory.
    Engine(engine::Arguments),
    /// The whole way: records in Kafka to rows in Postgres.
    Stream(stream::Arguments),
    /// How long a record takes while the champion changes, beside how long it takes otherwise.
    Swap(swap::Arguments),
    /// The steps of a training: texts in memory to new weights.
    Train(train::Arguments),
}

/// Runs the command.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Engine(arguments) => tokio::task::spawn_blocking(|| engine::run(arguments)).await?,
        Command::Stream(arguments) => stream::run(arguments).await,
        Command::Swap(arguments) => swap::run(arguments).await,
        Command::Train(arguments) => tokio::task::spawn_blocking(|| train::run(arguments)).await?,
    }
}
