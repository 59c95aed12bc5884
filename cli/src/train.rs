//! `labelstream train`.

/// Flags of `labelstream train`.
#[derive(clap::Args)]
pub struct Arguments {}

/// Runs the command.
pub fn run(_arguments: Arguments) -> anyhow::Result<()> {
    todo!()
}
