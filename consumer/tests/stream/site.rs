//! A registry with tiny models, beside a world.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use classifier::DeviceChoice;
use classifier::checkpoint::Manifest;
use consumer::{Config, ModelSource};
use harness::until_some;
use store::{LoadStatus, Version};

use crate::world::{Running, World};

/// A world with version 1 in its checkpoint store as champion.
pub struct Site {
    pub world: World,
}

impl Site {
    pub async fn new() -> Self {
        let world = World::new().await;
        world.promote_tiny_model(1).await;
        Self { world }
    }

    /// A tiny model that was changed, and whose manifest says so.
    pub fn changed(&self, seed: u64, change: impl FnOnce(&Path)) -> PathBuf {
        let directory = self.tiny_model(seed);
        change(&directory);
        let extra = Manifest::read(&directory).unwrap().extra;
        Manifest::write(&directory, extra).unwrap();
        directory
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

    pub fn consume(&self, change: impl FnOnce(&mut Config)) -> Running {
        let mut config = self.world.config();
        config.checkpoints.url = self.checkpoints();
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
        until_some(&format!("version {version} {status:?}"), async || {
            let reports = self.store.load_reports().await.unwrap();
            let report = reports.into_iter().find(|report| (report.version, report.status) == (version, status));
            report.map(|report| report.reason)
        })
        .await
    }

    /// The versions of the newest `count` predictions of each partition, without repetition.
    pub async fn newest_versions(&self, count: i64) -> Vec<i64> {
        let query = "select distinct version from (
            select version, row_number() over (partition by partition order by kafka_offset desc) as place from predictions
        ) as newest where place <= $1";
        sqlx::query_scalar(query).bind(count).fetch_all(&self.pool).await.unwrap()
    }
}

impl Deref for Site {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}
