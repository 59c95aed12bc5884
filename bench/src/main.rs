//! `bench`: the benchmarks that only developers need. Those that anybody may ask for are `labelstream bench`.

mod swap;
mod write_rate;

mod budgets;
mod gate;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Benchmarks for developers; bench/README.md says how each figure is made.
#[derive(clap::Parser)]
#[command(name = "bench")]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// How long a record takes while the champion changes, beside how long it takes otherwise: one JSON object.
    Swap(Box<swap::Arguments>),
    /// How fast rows get into `predictions`, as they are written and by `unnest`: a table.
    WriteRate(write_rate::Arguments),
    /// How right `train --base new` is with few labels and with many: a Markdown table.
    Budgets(budgets::Arguments),
    /// How often the gate lets pass what is no better, and holds back what is: Markdown tables.
    Gate(gate::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .init();
    let done = match Program::parse().command {
        Command::Swap(arguments) => swap::run(*arguments).await,
        Command::WriteRate(arguments) => write_rate::run(arguments).await,
        Command::Budgets(arguments) => budgets::run(&arguments),
        Command::Gate(arguments) => gate::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
