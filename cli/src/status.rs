//! `labelstream status`.

/// Flags of `labelstream status`.
#[derive(clap::Args)]
pub struct Arguments {}

/// Runs the command.
pub async fn run(_arguments: Arguments) -> anyhow::Result<()> {
    todo!()
}
