//! A registry with tiny models, beside a world.

use std::path::{Path, PathBuf};
use std::time::Duration;

use classifier::checkpoint::{Checkpoint, Manifest};
use classifier::tokenizer::Tokenizer;
use classifier::{Classes, DeviceChoice, ModelConfig, initialise};
use consumer::{Config, ModelSource};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use store::checkpoints::CheckpointStore;
use store::{LoadStatus, NewModel, Store, Version};
use tempfile::TempDir;

use crate::world::{Running, World, until};

pub const LABELS: [&str; 2] = ["negative", "positive"];

/// A world with a checkpoint store, and version 1 in it as champion.
pub struct Site {
    pub world: World,
    pub store: Store,
    files: TempDir,
}

impl Site {
    pub async fn new() -> Self {
        let world = World::new().await;
        let store = world.store().await;
        let site = Self { world, store, files: tempfile::tempdir().unwrap() };
        let first = site.register(&site.checkpoint(1)).await;
        site.store.promote(first, "the first", None).await.unwrap();
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A tiny model with weights of its own.
    pub fn checkpoint(&self, seed: u64) -> PathBuf {
        let directory = self.path(&format!("model-{seed}"));
        let tokenizer = tokenizer("很快，好吃。太慢了不来 0123456789");
        let mut config = ModelConfig::small(tokenizer.vocab_size(), Classes::new(LABELS));
        config.hidden_size = 32;
        config.num_hidden_layers = 1;
        config.num_attention_heads = 2;
        config.intermediate_size = 64;
        let parameters = initialise(&config, seed).unwrap();
        Checkpoint { config, parameters, tokenizer }.save(&directory, serde_json::Map::new()).unwrap();
        directory
    }

    /// A tiny model that was changed, and whose manifest says so.
    pub fn changed(&self, seed: u64, change: impl FnOnce(&Path)) -> PathBuf {
        let directory = self.checkpoint(seed);
        change(&directory);
        let extra = Manifest::read(&directory).unwrap().extra;
        Manifest::write(&directory, extra).unwrap();
        directory
    }

    pub async fn register(&self, directory: &Path) -> Version {
        self.register_as(directory, &LABELS).await
    }

    pub async fn register_as(&self, directory: &Path, labels: &[&str]) -> Version {
        let checkpoints = CheckpointStore::open(self.path("store").to_str().unwrap()).unwrap();
        let model = NewModel {
            uri: checkpoints.publish(directory).await.unwrap(),
            manifest_sha256: Manifest::sha256(directory).unwrap(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            metrics: json!({}),
            parent: None,
            round: None,
        };
        self.store.register_model(&model).await.unwrap()
    }

    /// Where the store keeps a file of a version.
    pub async fn published(&self, version: Version, file: &str) -> PathBuf {
        let model = self.store.model(version).await.unwrap();
        Path::new(model.uri.strip_prefix("file://").unwrap()).join(file)
    }

    /// Where the cache keeps a version, if it does.
    pub async fn cached(&self, version: Version) -> PathBuf {
        let model = self.store.model(version).await.unwrap();
        self.path("cache").join(model.uri.rsplit('/').next().unwrap())
    }

    pub async fn promote(&self, version: Version) {
        let champion = self.store.champion().await.unwrap().map(|model| model.version);
        self.store.promote(version, "the test says so", champion).await.unwrap();
    }

    pub fn consume(&self, change: impl FnOnce(&mut Config)) -> Running {
        let mut config = self.world.config();
        config.checkpoints.url = self.path("store").display().to_string();
        config.cache.directory = Some(self.path("cache"));
        config.device = DeviceChoice::Cpu;
        change(&mut config);
        self.world.start(config, ModelSource::Registry)
    }

    /// A consumer that looks for a new champion this often.
    pub fn consume_looking(&self, reload_interval: Duration) -> Running {
        self.consume(|config| config.reload_interval = reload_interval)
    }

    /// Waits until a consumer has said this of a version, and returns its reason.
    pub async fn until_reported(&self, version: Version, status: LoadStatus) -> Option<String> {
        until(&format!("version {version} {status:?}"), async || {
            let reports = self.store.load_reports().await.unwrap();
            let report = reports.into_iter().find(|report| (report.version, report.status) == (version, status));
            report.map(|report| report.reason)
        })
        .await
    }

    /// The versions of the newest `count` predictions of each partition, without repetition.
    pub async fn newest_versions(&self, count: i64) -> Vec<i64> {
        let mut connection = PgConnection::connect(&self.world.database).await.unwrap();
        let query = "select distinct version from (
            select version, row_number() over (partition by partition order by kafka_offset desc) as place from predictions
        ) as newest where place <= $1";
        sqlx::query_scalar(query).bind(count).fetch_all(&mut connection).await.unwrap()
    }
}

pub fn tokenizer(characters: &str) -> Tokenizer {
    Tokenizer::from_characters(&[characters], 200)
}

fn metric(address: &str, name: &str) -> Option<i64> {
    let mut page = ureq::get(format!("http://{address}/metrics")).call().ok()?;
    let page = page.body_mut().read_to_string().ok()?;
    page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// A sample of a consumer's page; `None` while it does not answer, or has none of the name.
pub async fn metric_of(address: &str, name: &'static str) -> Option<i64> {
    let address = address.to_owned();
    tokio::task::spawn_blocking(move || metric(&address, name)).await.unwrap()
}

pub fn flip_a_bit(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
}
