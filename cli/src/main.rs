//! `labelstream`: what a person types.

// First, for its macros.
#[macro_use]
mod print;

mod demo;

mod classify;
mod evaluate;
mod export;
mod import;
mod prepare;
mod train;

mod labels;
mod retrain;
mod rounds;

mod accuracy;
mod deployments;
mod drift;
mod models;
mod rescore;

mod dead_letters;
mod doctor;
mod migrate;
mod positions;
mod publish;
mod status;

mod configuration;
mod dataset_flags;
mod model_flags;
mod reviews;

use std::process::ExitCode;

use bench::measure;
use service::Kind;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    service::main(kind, run)
}

fn kind(program: &Program) -> Kind {
    match program.command {
        Command::Page(_) => Kind::Service,
        _ => Kind::Command,
    }
}

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
    /// Write a checkpoint as an ONNX file.
    Export(export::Arguments),
    /// Make a checkpoint of an ONNX file's weights.
    Import(import::Arguments),
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
    /// Show what each version is worth on the stream, from labels of reviews drawn at random.
    Accuracy(accuracy::Arguments),
    /// Show whether the stream still looks as it did when the champion began to serve.
    Drift(drift::Arguments),
    /// Show which version was live, from when until when, and why.
    Deployments(deployments::Arguments),
    /// Classify stored reviews again with the champion.
    Rescore(rescore::Arguments),
    /// List the records that could not become reviews, and publish them again.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Give up records that can never be read.
    #[command(subcommand)]
    Positions(positions::Command),
    /// Show how far the stream is: lag, rates, champion, errors.
    Status(status::Arguments),
    /// Serve the page for people who label, watch the stream and decide about models.
    Page(Box<page::Config>),
    /// Check everything the stream stands on, and say what to do.
    Doctor(doctor::Arguments),
    /// Bring the database to this program's schema.
    Migrate(migrate::Arguments),
    /// Measure the engine, the whole stream or training.
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

/// Some commands watch the token and end in order; the others are dropped when it is cancelled, and
/// with them the servers that they started.
async fn run(program: Program, shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
    print::end_quietly_on_a_broken_pipe();
    let ends_in_order =
        matches!(program.command, Command::Demo(_) | Command::Publish(_) | Command::DeadLetters(_) | Command::Page(_));
    let ended = dispatch(program.command, shutdown.clone());
    let ended = if ends_in_order { Some(ended.await) } else { shutdown.run_until_cancelled(ended).await };
    ended.unwrap_or_else(|| Ok(service::interrupted())).map_err(print::visible_error)
}

async fn dispatch(command: Command, shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(arguments) => demo::run(arguments, shutdown).await?,
        Command::Publish(arguments) => return publish::run(arguments, shutdown).await,
        Command::Classify(arguments) => blocking(|| classify::run(arguments)).await?,
        Command::Prepare(arguments) => blocking(|| prepare::run(arguments)).await?,
        Command::Train(arguments) => blocking(|| train::run(*arguments)).await?,
        Command::Evaluate(arguments) => blocking(|| evaluate::run(arguments)).await?,
        Command::Export(arguments) => blocking(|| export::run(arguments)).await?,
        Command::Import(arguments) => blocking(|| import::run(arguments)).await?,
        Command::Labels(command) => labels::run(command).await?,
        Command::Retrain(arguments) => retrain::run(arguments).await?,
        Command::Rounds(command) => rounds::run(command).await?,
        Command::Models(command) => models::run(command).await?,
        Command::Accuracy(arguments) => accuracy::run(arguments).await?,
        Command::Drift(arguments) => drift::run(arguments).await?,
        Command::Deployments(arguments) => deployments::run(arguments).await?,
        Command::Rescore(arguments) => rescore::run(arguments).await?,
        Command::DeadLetters(command) => return dead_letters::run(command, shutdown).await,
        Command::Positions(command) => positions::run(command).await?,
        Command::Status(arguments) => status::run(arguments).await?,
        Command::Page(config) => page::run(*config, shutdown).await?,
        Command::Doctor(arguments) => return doctor::run(arguments).await,
        Command::Migrate(arguments) => migrate::run(arguments).await?,
        Command::Bench(command) => print::json(&bench::run(command).await?)?,
        Command::Configuration { service } => print!("{}", configuration::table(service)),
    }
    Ok(ExitCode::SUCCESS)
}

async fn blocking(command: impl FnOnce() -> anyhow::Result<()> + Send + 'static) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(command).await?
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_command_has_flags_that_clap_accepts() {
        service::command::<super::Program>().debug_assert();
    }
}
