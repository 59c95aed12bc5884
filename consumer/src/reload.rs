//! Hears of a new champion (by notification, and by looking as the net), loads it beside the one
//! that serves, and hands it over by one send. A bad one changes nothing: the reason is in
//! `model_load_status`.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use service::Backoff;
use store::{Deployed, Listener, LoadStatus, Store, StoreError, Version};
use tokio::sync::{mpsc, oneshot};

use crate::answer_cache::AnswerCache;
use crate::inference::Handover;
use crate::load::{Again, Loader, Refusal};
use crate::metrics::Metrics;
use crate::model::{Champion, Model};

/// How often an empty registry is asked again.
const POLL: Duration = Duration::from_secs(2);
/// How long to wait before listening again: what broke the connection may still be there.
const RELISTEN: Duration = Duration::from_secs(1);
/// Attempts to load the first champion while the causes are transient: about a minute, then a
/// person should know.
const FIRST_ATTEMPTS: u32 = 12;

/// The longest delay between two attempts at what may pass by itself, and at what somebody has to
/// mend.
const SOON: Duration = Duration::from_secs(30);
const LATER: Duration = Duration::from_secs(300);

/// Between two looks at least, when one follows at once because something is due.
const AT_LEAST: Duration = Duration::from_millis(100);

/// The registry, as this consumer follows it.
pub(crate) struct Registry {
    pub store: Store,
    pub loader: Loader,
    /// Who reports: host and process.
    pub consumer: String,
    pub pipeline: String,
    pub metrics: Arc<Metrics>,
    /// Texts whose answers are cached.
    pub recent_texts: usize,
}

impl Registry {
    /// The champion, loaded, and its row; waits while the registry has none.
    ///
    /// # Errors
    /// A checkpoint that is missing, damaged, or not what was registered; a database that refuses.
    pub async fn first(&self) -> Result<(Champion, store::Model)> {
        let registered = self.first_registered().await?;
        let version = registered.version;
        tracing::info!(version = version.0, uri = registered.uri, "loading the champion");
        self.report(version, LoadStatus::Loading, None).await;
        let mut backoff = Backoff::new(Duration::from_secs(10));
        let mut attempts = 1;
        loop {
            match self.loader.load(&registered).await {
                Ok(champion) => return Ok((champion, registered)),
                Err(refusal) if refusal.again == Again::Soon && attempts < FIRST_ATTEMPTS => {
                    tracing::warn!(error = format!("{:#}", refusal.reason), "waiting for the checkpoint store");
                    attempts += 1;
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                Err(refusal) => {
                    self.report(version, LoadStatus::Refused, Some(&refusal.reason)).await;
                    return Err(refusal.reason)
                        .with_context(|| format!("cannot serve version {version}, the champion"));
                }
            }
        }
    }

    /// A loaded champion as it serves.
    pub fn serving(&self, champion: Champion) -> Box<dyn Model> {
        match NonZeroUsize::new(self.recent_texts) {
            Some(texts) => Box::new(AnswerCache::new(Box::new(champion), texts, self.metrics.clone())),
            None => Box::new(champion),
        }
    }

    async fn first_registered(&self) -> Result<store::Model> {
        let mut backoff = Backoff::new(Duration::from_secs(5));
        let mut said = false;
        loop {
            match self.store.champion().await {
                Ok(Some(champion)) => return Ok(champion),
                Ok(None) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::info!("waiting for a champion: register one with `labelstream models register`");
                    }
                    tokio::time::sleep(POLL).await;
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "waiting for Postgres to name the champion");
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                Err(error) => return Err(error).context("cannot read the champion from the registry"),
            }
        }
    }

    /// Tells people how far this consumer is with a version. It is for people only: serving does
    /// not wait for it.
    async fn report(&self, version: Version, status: LoadStatus, reason: Option<&anyhow::Error>) {
        let reason = reason.map(|reason| format!("{reason:#}"));
        let reported = self.store.report_load(&self.consumer, &self.pipeline, version, status, reason.as_deref());
        if let Err(error) = reported.await {
            tracing::debug!(%error, version = version.0, "what became of a version could not be reported");
        }
    }
}

/// Follows the champion for as long as the consumer serves.
pub(crate) struct Follower {
    registry: Registry,
    handover: mpsc::Sender<Handover>,
    interval: Duration,
    serving: store::Model,
    /// Served before, and still in the cache for a quick way back.
    former: Option<store::Model>,
    /// Not tried again before its time, unless it is promoted again.
    refused: Option<Refused>,
    /// Whether the registry could not be read the last time.
    is_blind: bool,
}

/// A deployment that this consumer does not serve.
struct Refused {
    deployment: i64,
    manifest_sha256: String,
    backoff: Backoff,
    kind: Again,
    /// When it is tried again; `None`: never.
    again: Option<Instant>,
}

impl Refused {
    fn is(&self, deployed: &Deployed) -> bool {
        self.deployment == deployed.deployment && self.manifest_sha256 == deployed.model.manifest_sha256
    }

    fn new(deployed: &Deployed, kind: Again) -> Self {
        let backoff = Backoff::new(if kind == Again::Soon { SOON } else { LATER });
        let (deployment, manifest_sha256) = (deployed.deployment, deployed.model.manifest_sha256.clone());
        Self { deployment, manifest_sha256, backoff, kind, again: None }
    }

    fn is_due(&self) -> bool {
        self.again.is_some_and(|again| again <= Instant::now())
    }
}

impl Follower {
    /// Follows from the model that serves, looking at the registry at least every `interval`.
    pub fn new(
        registry: Registry,
        handover: mpsc::Sender<Handover>,
        interval: Duration,
        serving: store::Model,
    ) -> Self {
        Self { registry, handover, interval, serving, former: None, refused: None, is_blind: false }
    }

    /// Follows until the future is dropped.
    pub async fn follow(mut self) {
        let mut listener = None;
        loop {
            // First listen, then look: what is promoted in between is heard of.
            if listener.is_none() {
                listener = self.registry.store.listen().await.ok();
            }
            let seen = self.step().await;
            self.note(seen);
            self.wait(&mut listener).await;
        }
    }

    /// One look at the registry: takes another champion over.
    ///
    /// A number alone names no model: after the database was restored the same one may come again
    /// for other files.
    async fn step(&mut self) -> Result<(), StoreError> {
        self.registry.report(self.serving.version, LoadStatus::Serving, None).await;
        while let Some(deployed) = self.registry.store.deployed().await? {
            let champion = &deployed.model;
            let is_waiting = |refused: &Refused| refused.is(&deployed) && !refused.is_due();
            if is_same(champion, &self.serving) {
                self.refused = None;
                break;
            }
            if self.refused.as_ref().is_some_and(is_waiting) {
                break;
            }
            tracing::info!(version = champion.version.0, uri = champion.uri, "loading the new champion");
            self.registry.report(champion.version, LoadStatus::Loading, None).await;
            match self.registry.loader.load(champion).await {
                // Loading takes its time: somebody may have promoted another meanwhile.
                Ok(model) if self.is_champion(champion).await? => {
                    self.hand_over(deployed.model, model).await;
                    break;
                }
                Ok(outdated) => free(outdated).await,
                Err(refusal) => {
                    self.refuse(&deployed, refusal).await;
                    break;
                }
            }
        }
        Ok(())
    }

    async fn is_champion(&self, loaded: &store::Model) -> Result<bool, StoreError> {
        Ok(self.registry.store.champion().await?.is_some_and(|champion| is_same(&champion, loaded)))
    }

    /// Gives the model to the inference thread, which swaps between two batches.
    async fn hand_over(&mut self, champion: store::Model, model: Champion) {
        let (replaced, old) = oneshot::channel();
        // Where nobody takes the model, or gives the old one back, the inference thread has ended,
        // and the consumer ends.
        if self.handover.send(Handover { model: self.registry.serving(model), replaced }).await.is_err() {
            return;
        }
        let Ok(old) = old.await else { return };
        free(old).await;
        self.registry.metrics.swapped(champion.version, &self.registry.loader.device().to_string());
        self.registry.report(champion.version, LoadStatus::Serving, None).await;
        self.served(champion).await;
    }

    /// Keeps in the cache what serves and what served before it, for a quick way back.
    async fn served(&mut self, champion: store::Model) {
        let former = std::mem::replace(&mut self.serving, champion);
        let Some(oldest) = self.former.replace(former) else { return };
        if oldest.uri != self.serving.uri
            && let Err(error) = self.registry.loader.forget(&oldest.uri).await
        {
            tracing::warn!(%error, "an old checkpoint stays in the cache");
        }
    }

    async fn refuse(&mut self, deployed: &Deployed, refusal: Refusal) {
        let Refusal { reason, again } = refusal;
        let champion = &deployed.model;
        tracing::error!(
            version = champion.version.0,
            serving = self.serving.version.0,
            reason = format!("{reason:#}"),
            again = again != Again::Never,
            "the new champion is refused: the old model serves on"
        );
        self.registry.metrics.model_refused.inc();
        self.registry.report(champion.version, LoadStatus::Refused, Some(&reason)).await;
        let same = self.refused.take().filter(|refused| refused.is(deployed) && refused.kind == again);
        let mut refused = same.unwrap_or_else(|| Refused::new(deployed, again));
        refused.again = (again != Again::Never).then(|| Instant::now() + refused.backoff.next_delay());
        self.refused = Some(refused);
    }

    /// Says once that the registry cannot be read, and once that it can.
    fn note(&mut self, seen: Result<(), StoreError>) {
        match (seen, self.is_blind) {
            (Err(error), false) => tracing::warn!(%error, "cannot look for a new champion: the model serves on"),
            (Ok(()), true) => tracing::info!("the registry can be read again"),
            (Ok(()), false) => return,
            (Err(_), true) => return,
        }
        self.is_blind = !self.is_blind;
    }

    /// Until word comes, or it is time to look without any.
    async fn wait(&mut self, listener: &mut Option<Listener>) {
        let word = async {
            match listener {
                Some(listener) => listener.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            heard = word => match heard {
                // Somebody is at it: what waits for its time is tried at once. What is never tried
                // again is promoted anew where it was mended, and so another deployment.
                Ok(()) => self.refused = self.refused.take().filter(|refused| refused.kind == Again::Never),
                Err(error) => {
                    tracing::debug!(%error, "listening anew");
                    *listener = None;
                    tokio::time::sleep(RELISTEN.min(self.interval)).await;
                }
            },
            () = tokio::time::sleep(self.until_next_look()) => {}
        }
    }

    fn until_next_look(&self) -> Duration {
        let again = self.refused.as_ref().and_then(|refused| refused.again);
        let wait = again.map_or(self.interval, |again| again.saturating_duration_since(Instant::now()));
        wait.max(AT_LEAST).min(self.interval)
    }
}

fn is_same(one: &store::Model, other: &store::Model) -> bool {
    one.version == other.version && one.manifest_sha256 == other.manifest_sha256
}

/// Frees a model, which may take a while, away from everything that somebody waits for.
async fn free<M: Send + 'static>(model: M) {
    // Only a panic while it is dropped could fail.
    let _ = tokio::task::spawn_blocking(move || drop(model)).await;
}
