//! `labelstream dead-letters`.

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Lists.
    List,
}

/// Runs the command.
pub async fn run(_command: Command) -> anyhow::Result<()> {
    todo!()
}
