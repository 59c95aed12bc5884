//! Models that the page has opened to ask them. A few are kept; all of them on the CPU.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use classifier::{Classifier, DeviceChoice};
use lru::LruCache;
use service::{checkpoint, thread};
use store::checkpoints::CheckpointStore;
use store::{Model, Store, Version};
use tokio::sync::{Mutex, OnceCell};

/// Models in memory at the same time, at most.
const MOST: NonZeroUsize = NonZeroUsize::new(4).expect("four is not zero");
/// A person does not wait for longer; the model is opened all the same.
const PATIENCE: Duration = Duration::from_secs(10);
/// Asking yields to whatever else the machine does.
const NICENESS: i32 = 5;

type Cell = Arc<OnceCell<Arc<Classifier>>>;

/// Registered versions, opened as they are asked for.
pub struct Opened {
    store: Store,
    checkpoints: Option<CheckpointStore>,
    cache: PathBuf,
    models: Mutex<LruCache<Version, Cell>>,
}

/// What a version says of a text.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its most probable class.
    pub label: String,
    /// All classes with their probabilities, in the order of the model's.
    pub scores: Vec<(String, f32)>,
}

impl Opened {
    pub fn new(store: Store, checkpoints: Option<CheckpointStore>, cache: PathBuf) -> Arc<Self> {
        Arc::new(Self { store, checkpoints, cache, models: Mutex::new(LruCache::new(MOST)) })
    }

    /// Whether it was said where checkpoints are.
    pub fn has_checkpoints(&self) -> bool {
        self.checkpoints.is_some()
    }

    /// A version, ready to be asked.
    ///
    /// # Errors
    /// A checkpoint that is gone, damaged, or takes too long to come.
    pub async fn open(self: &Arc<Self>, version: Version) -> Result<Arc<Classifier>> {
        let cell = self.models.lock().await.get_or_insert(version, Cell::default).clone();
        if let Some(model) = cell.get() {
            return Ok(model.clone());
        }
        // A task of its own: it goes on when whoever asked first does not wait any more.
        let opened = self.clone();
        let opening = tokio::spawn(async move { cell.get_or_try_init(|| opened.fetch(version)).await.cloned() });
        tokio::time::timeout(PATIENCE, opening)
            .await
            .with_context(|| format!("version {version} is still being fetched: try again in a moment"))?
            .context("opening a model ended")?
            .with_context(|| format!("version {version}"))
    }

    async fn fetch(&self, version: Version) -> Result<Arc<Classifier>> {
        let checkpoints = self.checkpoints.as_ref().context("the page was started without --checkpoints")?;
        let model: Model = self.store.model(version).await?;
        ensure!(model.collected_at.is_none(), "its files were deleted");
        let directory = checkpoint::fetch(checkpoints, &model, &self.cache).await?;
        let classifier =
            thread("opening", Some(NICENESS), move || Ok(Classifier::open(&directory, &DeviceChoice::Cpu.open()?)?))?;
        Ok(Arc::new(classifier.await?))
    }

    /// Asks a version.
    ///
    /// # Errors
    /// Those of [`Self::open`], and the model's own.
    pub async fn ask(self: &Arc<Self>, version: Version, text: &str) -> Result<Said> {
        let (model, text) = (self.open(version).await?, text.to_owned());
        let asked = thread("asking", Some(NICENESS), move || {
            let answer = model.classify(&[text])?.pop().context("a text without an answer is a bug")?;
            let names = model.classes().names();
            let label = names[answer.best().0].clone();
            Ok(Said { label, scores: names.iter().cloned().zip(answer.scores).collect() })
        })?;
        asked.await
    }
}
