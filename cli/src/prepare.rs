//! `labelstream prepare`.

/// Flags of `labelstream prepare`.
#[derive(clap::Args)]
pub struct Arguments {}

/// Runs the command.
pub fn run(_arguments: Arguments) -> anyhow::Result<()> {
    todo!()
}
