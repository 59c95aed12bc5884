//! `labelstream publish`.

/// Flags of `labelstream publish`.
#[derive(clap::Args)]
pub struct Arguments {}

/// Runs the command.
pub async fn run(_arguments: Arguments) -> anyhow::Result<()> {
    todo!()
}
