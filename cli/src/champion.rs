//! A registered checkpoint on this machine: fetched, and verified against what was registered.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use classifier::checkpoint::Manifest;
use classifier::{Classifier, DeviceChoice};
use store::Model;
use store::checkpoints::CheckpointStore;

/// The directory of a registered version below `cache`, with every hash as registered. A copy that was damaged since it was
/// fetched is fetched again.
pub async fn fetch(checkpoints: &CheckpointStore, model: &Model, cache: &Path) -> Result<PathBuf> {
    let directory = checkpoints.fetch(&model.uri, cache).await?;
    if verify(&directory, model).is_ok() {
        return Ok(directory);
    }
    checkpoints.forget(&model.uri, cache).await?;
    let directory = checkpoints.fetch(&model.uri, cache).await?;
    verify(&directory, model)?;
    Ok(directory)
}

fn verify(directory: &Path, model: &Model) -> Result<()> {
    Manifest::verify(directory)?;
    ensure!(
        Manifest::sha256(directory)? == model.manifest_sha256,
        "{} is not what was registered as version {}: its manifest has another hash",
        model.uri,
        model.version
    );
    Ok(())
}

/// The model of a fetched checkpoint, tried once.
pub fn open(directory: &Path, model: &Model, device: DeviceChoice) -> Result<Classifier> {
    let classifier = Classifier::open(directory, &device.open()?)?;
    let labels = classifier.classes().names();
    ensure!(labels == model.labels, "the checkpoint has the labels {labels:?}, the registry says {:?}", model.labels);
    classifier.canary()?;
    Ok(classifier)
}
