//! Models in a test's registry and checkpoint store.

use std::path::{Path, PathBuf};

use bert::checkpoint::Manifest;
use serde_json::json;
use store::checkpoints::CheckpointStore;
use store::{NewModel, Version};

use crate::{Storage, TINY_CLASSES, save_tiny_model};

impl Storage {
    /// The address of the checkpoint store.
    pub fn checkpoints(&self) -> String {
        format!("file://{}", self.path("checkpoints").display())
    }

    /// The directory of a tiny model with the weights of a seed.
    pub fn tiny_model(&self, seed: u64) -> PathBuf {
        let directory = self.path(&format!("model-{seed}"));
        save_tiny_model(&directory, &TINY_CLASSES, seed);
        directory
    }

    /// Publishes such a model and registers it.
    pub async fn register_tiny_model(&self, seed: u64) -> Version {
        self.register(&self.tiny_model(seed), &TINY_CLASSES).await
    }

    /// Makes such a model the champion.
    pub async fn promote_tiny_model(&self, seed: u64) -> Version {
        let version = self.register_tiny_model(seed).await;
        self.promote(version).await;
        version
    }

    /// Publishes a checkpoint and registers it with these classes.
    pub async fn register(&self, directory: &Path, classes: &[&str]) -> Version {
        let checkpoints = CheckpointStore::open(&self.checkpoints()).expect("the checkpoint store opens");
        let model = NewModel {
            uri: checkpoints.publish(directory).await.expect("the checkpoint can be published"),
            manifest_sha256: Manifest::sha256(directory).expect("the checkpoint has a manifest"),
            labels: classes.iter().copied().map(str::to_owned).collect(),
            metrics: json!({}),
            parent: None,
            round: None,
        };
        self.store.register_model(&model).await.expect("the model can be registered")
    }

    /// Makes a version the champion, whichever is.
    pub async fn promote(&self, version: Version) {
        let champion = self.store.champion().await.expect("the database answers").map(|model| model.version);
        self.store.promote(version, "the test says so", champion).await.expect("the model can be promoted");
    }
}
