//! `labelstream migrate`: the schema, brought to this program's.

use anyhow::Context;
use service::DatabaseArguments;
use store::Schema;

/// Flags of `labelstream migrate`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let store = arguments.database.open().await.context("the database cannot be used")?;
    store.migrate().await?;
    match store.check_schema().await? {
        Schema::Current => println!("the database has this program's schema"),
        Schema::Newer { by } => {
            println!("the database is {by} migrations ahead of this program, which is fine")
        }
    }
    Ok(())
}
