//! How every program starts and ends.

use std::process::{ExitCode, Termination};

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::secret::without_credentials;
use crate::{arguments, candle, signals};

/// Who waits for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody: it serves until it is told to stop, and its log is read later.
    Service,
    /// The person who typed it: only warnings are logged, and an error is one plain line.
    Command,
}

/// Reads the command line, starts the log, and runs the program until its end. The token is
/// cancelled by the first Ctrl-C or SIGTERM; the second ends the program at once.
pub fn main<P: Parser, T: Termination, F: Future<Output = Result<T>>>(
    kind: impl FnOnce(&P) -> Kind,
    run: impl FnOnce(P, CancellationToken) -> F,
) -> ExitCode {
    candle::keep_to_one_thread();
    let (program, log) = arguments::parse::<P>();
    let kind = kind(&program);
    log.start(if kind == Kind::Service { "info" } else { "warn" });
    let ended = Runtime::new().context("cannot start the runtime").and_then(|runtime| {
        let ended = runtime.block_on(async { run(program, signals::shutdown()?).await });
        // What blocks a thread is not waited for: an interrupted training has its state on disk.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(done) => done.report(),
        Err(error) => {
            let error = without_credentials(&format!("{error:#}"));
            let is_logged = kind == Kind::Service || log.is_json();
            if is_logged && (tracing::enabled!(tracing::Level::ERROR) || log.is_off()) {
                tracing::error!("{error}");
            } else {
                // A filter that speaks of other parts alone does not hide why a program ended.
                eprintln!("error: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The exit code of a command that a signal has ended.
pub fn interrupted() -> ExitCode {
    ExitCode::from(signals::INTERRUPTED)
}
