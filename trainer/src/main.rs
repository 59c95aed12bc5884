//! The trainer service: parse, trace, build, run.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use trainer::service::{self, Config};

#[tokio::main]
async fn main() -> ExitCode {
    let mut config = Config::parse();
    config.take_token(std::env::vars());
    let filter = EnvFilter::try_from_env("LABELSTREAM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();

    let shutdown = CancellationToken::new();
    let ended = match cancel_on_signal(shutdown.clone()) {
        Ok(()) => service::run(config, shutdown).await,
        Err(error) => Err(error.into()),
    };
    // A training that was interrupted has its state on disk: nobody waits for its thread.
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn cancel_on_signal(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.cancel();
        // A second signal does not wait.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(())
}
