//! From a directory to a registered version: verified, published, numbered.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use classifier::checkpoint::{Manifest, weight_files};
use classifier::{Classifier, Device, tokenizer};
use store::checkpoints::CheckpointStore;
use store::{Model, NewModel, Store, Version};
use tempfile::TempDir;

/// A version, and what it was found to be where it was registered.
pub struct Registered {
    /// The version.
    pub model: Model,
    /// The kind of model, as `model_type` of its `config.json` says it.
    pub kind: String,
    /// What computes it on this machine's CPU, in which precision, how fast.
    pub engine: String,
}

/// Registers a checkpoint directory; the same checkpoint again keeps its version.
pub async fn register(store: &Store, checkpoints: &str, directory: &Path) -> anyhow::Result<Registered> {
    let checkpoints = CheckpointStore::open(checkpoints)?;
    let source = directory.to_owned();
    let checked = tokio::task::spawn_blocking(move || check(&source)).await?;
    let checked = checked.with_context(|| format!("{} cannot be registered", directory.display()))?;
    // From before the files are looked for until they are registered, nobody deletes them.
    let mut lock = store.lock_checkpoint(&checked.manifest_sha256).await?;
    let uri = checkpoints.publish(checked.directory.path()).await?;
    let model = NewModel {
        uri,
        manifest_sha256: checked.manifest_sha256,
        labels: checked.labels,
        metrics: checked.metrics,
        parent: None,
        round: None,
    };
    lock.still_held().await.context("the files of the checkpoint may be deleted meanwhile: register it again")?;
    let version = store.register_model(&model).await?;
    lock.release().await?;
    Ok(Registered { model: store.model(version).await?, kind: checked.kind, engine: checked.engine })
}

/// Promotes, unless somebody else promotes another version at the same moment.
pub async fn promote_over_the_champion(store: &Store, version: Version, why: &str) -> anyhow::Result<()> {
    let champion = store.champion().await?.map(|model| model.version);
    Ok(store.promote(version, why, champion).await?)
}

struct Checked {
    directory: Directory,
    manifest_sha256: String,
    labels: Vec<String>,
    metrics: serde_json::Value,
    kind: String,
    engine: String,
}

/// A directory that has a manifest: as it came, or a copy that was given one.
enum Directory {
    AsItCame(PathBuf),
    Copied(TempDir),
}

impl Directory {
    fn path(&self) -> &Path {
        match self {
            Self::AsItCame(path) => path,
            Self::Copied(copy) => copy.path(),
        }
    }
}

/// Opens the model and lets it classify once: what is registered can serve.
fn check(source: &Path) -> anyhow::Result<Checked> {
    let classifier = Classifier::open(source, &Device::Cpu)?;
    classifier.canary()?;
    let pace = classifier.measure_pace()?;
    let directory = if source.join("manifest.json").exists() {
        Directory::AsItCame(source.to_owned())
    } else {
        Directory::Copied(copy_with_manifest(source)?)
    };
    let manifest = Manifest::verify(directory.path())?;
    Ok(Checked {
        manifest_sha256: Manifest::sha256(directory.path())?,
        labels: classifier.classes().names().to_vec(),
        kind: classifier.kind().to_string(),
        engine: format!("{}, {}, {pace:.0} texts/s here", classifier.engine(), classifier.precision()),
        metrics: manifest.extra.get("metrics").cloned().unwrap_or_else(|| serde_json::json!({})),
        directory,
    })
}

/// A checkpoint directory is never written to, whoever it belongs to.
fn copy_with_manifest(source: &Path) -> anyhow::Result<TempDir> {
    let copy = tempfile::tempdir()?;
    let weights = weight_files(source)?;
    let files = std::iter::once("config.json").chain(tokenizer::FILES).map(str::to_owned);
    for name in files.chain(weights).filter(|name| source.join(name).exists()) {
        fs::copy(source.join(&name), copy.path().join(&name)).with_context(|| format!("{name} cannot be copied"))?;
    }
    Manifest::write(copy.path(), serde_json::Map::new())?;
    Ok(copy)
}
