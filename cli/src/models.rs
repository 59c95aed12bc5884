//! `labelstream models`: the registry of checkpoints, and which of them serves.

mod collect;
mod shadow;

use serde_json::json;
use service::{CheckpointArguments, DatabaseArguments, Registered, promote_over_the_champion, register};
use store::{Model, ModelStatus, Store, Version};

use crate::print;

/// What to do with the registry.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Verify a checkpoint directory, copy it to the checkpoint store and give it a version.
    Register {
        /// A directory in the HuggingFace layout, with a classification head.
        directory: std::path::PathBuf,
        #[command(flatten)]
        checkpoints: CheckpointArguments,
        #[command(flatten)]
        database: DatabaseArguments,
        /// Make it the champion at once.
        #[arg(long)]
        promote: bool,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// List the versions, newest first.
    List {
        #[command(flatten)]
        database: DatabaseArguments,
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Show one version and when it served.
    Show {
        /// The version.
        version: i64,
        #[command(flatten)]
        database: DatabaseArguments,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Make a version the champion: the consumers serve it.
    Promote {
        /// The version.
        version: i64,
        #[command(flatten)]
        database: DatabaseArguments,
        /// Why, for the record.
        #[arg(long, default_value = "promoted by hand")]
        why: String,
    },
    /// Make the champion before this one champion again.
    Rollback {
        #[command(flatten)]
        database: DatabaseArguments,
        /// Why, for the record.
        #[arg(long, default_value = "rolled back by hand")]
        why: String,
    },
    /// Let a version score a share of the stream beside the champion, without touching labels.
    Shadow(shadow::Arguments),
    /// Delete the files of old versions that nothing uses and nobody will roll back to.
    Collect {
        #[command(flatten)]
        collect: collect::Arguments,
        #[command(flatten)]
        checkpoints: CheckpointArguments,
        #[command(flatten)]
        database: DatabaseArguments,
    },
}

/// Runs the command.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Register { directory, checkpoints, database, promote, json } => {
            let store = database.connect().await?;
            let Registered { model, kind, engine } = register(&store, &checkpoints.url, &directory).await?;
            if promote {
                promote_over_the_champion(&store, model.version, "promoted when registered").await?;
            }
            if json {
                let mut shown = with_champion(&model, promote);
                shown["kind"] = kind.into();
                shown["engine"] = engine.into();
                return print::json(&shown);
            }
            let champion = if promote { ", the champion now" } else { "" };
            println!("version {}: {}{champion}", model.version, model.labels.join(", "));
            println!("{kind}: {engine}");
        }
        Command::List { database, json } => list(&database.connect().await?, json).await?,
        Command::Show { version, database, json } => show(&database.connect().await?, Version(version), json).await?,
        Command::Promote { version, database, why } => {
            promote_over_the_champion(&database.connect().await?, Version(version), &why).await?;
            println!("version {version} is the champion");
        }
        Command::Rollback { database, why } => {
            let version = database.connect().await?.rollback(&why).await?;
            println!("version {version} is the champion again");
        }
        Command::Shadow(arguments) => shadow::run(arguments).await?,
        Command::Collect { collect, checkpoints, database } => {
            collect::collect(&database.connect().await?, &checkpoints.url, &collect).await?;
        }
    }
    Ok(())
}

async fn list(store: &Store, json: bool) -> anyhow::Result<()> {
    let champion = store.champion().await?.map(|model| model.version);
    let models = store.models().await?;
    if json {
        let models: Vec<_> = models.iter().map(|model| with_champion(model, Some(model.version) == champion)).collect();
        return print::json(&models);
    }
    if models.is_empty() {
        println!("no versions yet: `labelstream models register DIR` makes the first");
        return Ok(());
    }
    let rows: Vec<_> = models
        .iter()
        .map(|model| {
            [
                model.version.to_string(),
                role(model, champion).to_owned(),
                model.labels.join(", "),
                accuracy(model),
                model.created_at.format("%F %T").to_string(),
                model.uri.clone(),
            ]
        })
        .collect();
    print::table(["VERSION", "ROLE", "LABELS", "ACCURACY", "REGISTERED (UTC)", "CHECKPOINT"], &rows);
    Ok(())
}

async fn show(store: &Store, version: Version, json: bool) -> anyhow::Result<()> {
    let model = store.model(version).await?;
    let champion = store.champion().await?.is_some_and(|champion| champion.version == version);
    let mut deployments = store.deployments().await?;
    deployments.retain(|deployment| deployment.version == version);
    if json {
        let mut shown = with_champion(&model, champion);
        shown["deployments"] = serde_json::to_value(&deployments)?;
        return print::json(&shown);
    }
    let role = match role(&model, champion.then_some(version)) {
        "" => String::new(),
        role => format!(" ({role})"),
    };
    println!("version     {}{role}", model.version);
    println!("labels      {}", model.labels.join(", "));
    println!("registered  {}", model.created_at.format("%F %T UTC"));
    println!("checkpoint  {}", model.uri);
    println!("manifest    {}", model.manifest_sha256);
    println!("parent      {}", model.parent.map_or("none".to_owned(), |parent| parent.to_string()));
    println!("metrics     {}", model.metrics);
    for deployment in deployments {
        println!("deployed    {}: {}", deployment.deployed_at.format("%F %T UTC"), deployment.why);
    }
    Ok(())
}

fn with_champion(model: &Model, champion: bool) -> serde_json::Value {
    let mut shown = json!(model);
    shown["champion"] = champion.into();
    shown
}

/// What a version is now.
fn role(model: &Model, champion: Option<Version>) -> &'static str {
    match (Some(model.version) == champion, model.collected_at, model.status) {
        (true, ..) => "champion",
        (_, Some(_), _) => "collected",
        (_, _, ModelStatus::Rejected) => "rejected",
        _ => "",
    }
}

fn accuracy(model: &Model) -> String {
    model.metrics["accuracy"].as_f64().map_or(String::new(), |accuracy| format!("{accuracy:.4}"))
}
