//! `labelstream doctor`.

/// Flags of `labelstream doctor`.
#[derive(clap::Args)]
pub struct Arguments {}

/// Runs the command.
pub async fn run(_arguments: Arguments) -> anyhow::Result<std::process::ExitCode> {
    todo!()
}
