//! `labelstream migrate`: the schema, brought to this program's.

use store::Schema;

use crate::database::{self, DatabaseArguments};

/// Flags of `labelstream migrate`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let store = database::connect(&arguments.database.database_url).await?;
    store.migrate().await?;
    match store.check_schema().await? {
        Schema::Current => println!("the database has this program's schema"),
        Schema::Newer { by } => {
            println!("the database is {by} migrations ahead of this program, which is fine")
        }
    }
    Ok(())
}
