//! `labelstream labels`: what people say of reviews, and which reviews to ask them about.

mod file;
mod import;
mod next;
mod pick;

use service::DatabaseArguments;

pub use next::most_worth_labeling;
use pick::pick;

/// What to do with labels.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Import labels from a file: all of its rows, or none.
    Import(import::Arguments),
    /// Print the reviews most worth labeling, ready to be filled in and imported.
    Next(next::Arguments),
    /// Add a class, so that labels may name it.
    AddClass {
        /// Name of the class
        name: String,
        #[command(flatten)]
        database: DatabaseArguments,
    },
}

/// Runs the command.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Import(arguments) => import::run(arguments).await,
        Command::Next(arguments) => next::run(arguments).await,
        Command::AddClass { name, database } => {
            let name = name.trim();
            anyhow::ensure!(!name.is_empty(), "a class needs a name");
            let store = database.connect().await?;
            store.add_class(name).await?;
            println!("the classes are now {}", store.classes().await?.join(", "));
            Ok(())
        }
    }
}
