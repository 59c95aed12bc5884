//! `labelstream labels`: what people say of reviews, and which reviews to ask them about.

mod agreement;
mod file;
mod import;
mod next;
mod suspects;

use service::DatabaseArguments;

/// What to do with labels.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Import labels from a file: all of its rows, or none.
    Import(import::Arguments),
    /// Print the reviews most worth labeling, ready to be filled in and imported.
    Next(Box<next::Arguments>),
    /// Print the labels that are probably wrong, the likeliest first, with the texts that resemble
    /// them: filled in, the table can be imported.
    Suspects(suspects::Arguments),
    /// Show how often people agree where two have labeled one text.
    Agreement(agreement::Arguments),
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
        Command::Next(arguments) => next::run(*arguments).await,
        Command::Suspects(arguments) => suspects::run(arguments).await,
        Command::Agreement(arguments) => agreement::run(arguments).await,
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
