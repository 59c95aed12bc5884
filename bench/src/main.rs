//! `bench`: the benchmarks that only developers need. Those that anybody may ask for are
//! `labelstream bench`.

mod predict;
mod swap;
mod write_rate;

mod budgets;
mod gate;

use std::process::ExitCode;

use anyhow::Result;
use service::Kind;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

/// Benchmarks for developers; bench/README.md says how each figure is made.
#[derive(clap::Parser)]
#[command(name = "bench")]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// How long a record takes while the champion changes, beside how long it takes otherwise: one
    /// JSON object.
    Swap(Box<swap::Arguments>),
    /// The stream's rate alone, and beside clients that ask `/predict` in a closed loop: one JSON
    /// object.
    Predict(Box<predict::Arguments>),
    /// How fast rows get into `predictions`, as they are written and by `unnest`: a table.
    WriteRate(write_rate::Arguments),
    /// How right `train --base new` is with few labels and with many: a Markdown table.
    Budgets(budgets::Arguments),
    /// How often the gate lets pass what is no better, and holds back what is: Markdown tables.
    Gate(gate::Arguments),
}

fn main() -> ExitCode {
    service::main(|_| Kind::Command, run)
}

async fn run(program: Program, shutdown: CancellationToken) -> Result<ExitCode> {
    match shutdown.run_until_cancelled(measure(program.command)).await {
        Some(measured) => measured.map(|()| ExitCode::SUCCESS),
        None => Ok(service::interrupted()),
    }
}

async fn measure(command: Command) -> Result<()> {
    match command {
        Command::Swap(arguments) => swap::run(*arguments).await,
        Command::Predict(arguments) => predict::run(*arguments).await,
        Command::WriteRate(arguments) => write_rate::run(arguments).await,
        Command::Budgets(arguments) => spawn_blocking(move || budgets::run(&arguments)).await?,
        Command::Gate(arguments) => spawn_blocking(move || gate::run(&arguments)).await?,
    }
}
