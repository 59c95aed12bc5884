//! `labelstream demo`.

/// Flags of `labelstream demo`.
#[derive(clap::Args)]
pub struct Arguments {}

/// Runs the command.
pub async fn run(_arguments: Arguments, _shutdown: tokio_util::sync::CancellationToken) -> anyhow::Result<()> {
    todo!()
}
