//! `labelstream`: what a person types.

mod demo;

mod classify;
mod evaluate;
mod prepare;
mod train;

mod labels;
mod retrain;
mod rounds;

mod deployments;
mod models;
mod rescore;

mod dead_letters;
mod doctor;
mod migrate;
mod publish;
mod status;

mod bench;

mod champion;
mod configuration;
mod database;
mod dataset_flags;
mod kafka;
mod measure;
mod model_flags;
mod print;
mod reviews;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// What a shell reports of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Labels a stream of reviews: Kafka in, labels in Postgres out.
#[derive(clap::Parser)]
#[command(name = "labelstream", version)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Run the whole loop on this machine, with nothing to install.
    Demo(demo::Arguments),
    /// Publish reviews to a Kafka topic.
    Publish(publish::Arguments),
    /// Classify texts with a checkpoint: one JSON line a text.
    Classify(classify::Arguments),
    /// Clean a file of labeled reviews and split it for training.
    Prepare(prepare::Arguments),
    /// Train a checkpoint from files.
    Train(Box<train::Arguments>),
    /// Measure a checkpoint on labeled texts.
    Evaluate(evaluate::Arguments),
    /// Import people's labels, and find the reviews most worth labeling.
    #[command(subcommand)]
    Labels(labels::Command),
    /// Ask the trainer for a round.
    Retrain(retrain::Arguments),
    /// Look at the rounds of training and their verdicts.
    #[command(subcommand)]
    Rounds(rounds::Command),
    /// Look into the registry of checkpoints and choose the champion.
    #[command(subcommand)]
    Models(models::Command),
    /// Show which version was live, from when until when, and why.
    Deployments(deployments::Arguments),
    /// Label stored reviews again with the champion.
    Rescore(rescore::Arguments),
    /// Look at records that could not become reviews, and publish them again.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Show how far the stream is: lag, rates, champion, errors.
    Status(status::Arguments),
    /// Check everything the stream stands on, and say what to do.
    Doctor(doctor::Arguments),
    /// Bring the database to this program's schema.
    Migrate(migrate::Arguments),
    /// Measure the engine or the whole stream.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Print the README's table of a service's flags.
    #[command(hide = true)]
    Configuration {
        /// Whose flags.
        #[arg(value_enum, default_value_t = configuration::Service::Consumer)]
        service: configuration::Service,
    },
}

fn main() -> ExitCode {
    keep_candle_on_its_thread();
    print::end_quietly_on_a_broken_pipe();
    let program = Program::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(program.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// candle spreads additions over a pool of its own, whose threads spin for work and take turns behind one lock. We have a
/// thread on every core already, each with its share of the texts: in training the pool cost a fifth of the processor.
#[expect(unsafe_code, reason = "the environment is the only way to tell candle, which reads it once")]
fn keep_candle_on_its_thread() {
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: main calls this first, while the program has one thread.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(run_until_interrupted(command));
    // An interrupted training step is not waited for.
    runtime.shutdown_background();
    result
}

/// Ctrl-C and SIGTERM cancel the token. Some commands watch it and end in order; the others are dropped, and with them
/// the servers that they started.
async fn run_until_interrupted(command: Command) -> anyhow::Result<ExitCode> {
    let shutdown = CancellationToken::new();
    let watches_shutdown = matches!(command, Command::Demo(_) | Command::Publish(_));
    let mut terminate = signal(SignalKind::terminate())?;
    let result = dispatch(command, shutdown.clone());
    tokio::pin!(result);
    tokio::select! {
        result = &mut result => return result,
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    shutdown.cancel();
    if watches_shutdown { result.await } else { Ok(ExitCode::from(INTERRUPTED)) }
}

async fn dispatch(command: Command, shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(arguments) => demo::run(arguments, shutdown).await?,
        Command::Publish(arguments) => publish::run(arguments, shutdown).await?,
        Command::Classify(arguments) => blocking(|| classify::run(arguments)).await?,
        Command::Prepare(arguments) => blocking(|| prepare::run(arguments)).await?,
        Command::Train(arguments) => blocking(|| train::run(*arguments)).await?,
        Command::Evaluate(arguments) => blocking(|| evaluate::run(arguments)).await?,
        Command::Labels(command) => labels::run(command).await?,
        Command::Retrain(arguments) => retrain::run(arguments).await?,
        Command::Rounds(command) => rounds::run(command).await?,
        Command::Models(command) => models::run(command).await?,
        Command::Deployments(arguments) => deployments::run(arguments).await?,
        Command::Rescore(arguments) => rescore::run(arguments).await?,
        Command::DeadLetters(command) => dead_letters::run(command).await?,
        Command::Status(arguments) => status::run(arguments).await?,
        Command::Doctor(arguments) => return doctor::run(arguments).await,
        Command::Migrate(arguments) => migrate::run(arguments).await?,
        Command::Bench(command) => bench::run(command).await?,
        Command::Configuration { service } => print!("{}", configuration::table(service)),
    }
    Ok(ExitCode::SUCCESS)
}

async fn blocking(command: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(command).await?
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn every_command_has_flags_that_clap_accepts() {
        super::Program::command().debug_assert();
    }
}
