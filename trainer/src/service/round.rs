//! One round, from top to bottom: begun, trained, compared, judged, published, concluded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use classifier::ComposedFamily;
use classifier::checkpoint::{Manifest, model_type};
use classifier::linear;
use serde_json::{Value, json};
use service::{owner, retry, thread};
use store::checkpoints::CheckpointStore;
use store::{
    Begun, Concluded, Conclusion, Label, LabelsSeen, NewModel, NewRound, Outcome, Round, RoundLease, Store, Trigger,
    Version,
};
use tokio_util::sync::CancellationToken;

use super::champion::Champion;
use super::comparison::{Compared, Comparison};
use super::conclusion::conclusion;
use super::config::{Config, From, short_digest};
use super::fitting::{Fitted, Fitting};
use super::judging::{FEW, Origins};
use super::lease::Keeper;
use super::metrics::Metrics;
use super::publish::assemble;
use crate::base::Base;
use crate::dataset::Example;
use crate::labeled_rows::{Columns, Row, read};
use crate::pretrained::Pretrained;
use crate::round_dataset::{Labeled, RoundClasses, RoundDataset, round_dataset};
use crate::unlabeled::MOST_TEXTS;
use crate::warnings;

/// A round that has killed so many trainers is given up.
const MOST_OWNERS: i64 = 10;
/// Labels read at once.
const LABELS: u32 = 10_000;
/// Times that a candidate is compared anew because somebody changed the champion meanwhile.
const MOST_COMPARISONS: usize = 5;

/// What rounds need, for as long as the service runs.
#[derive(Clone)]
pub(super) struct Rounds {
    pub config: Arc<Config>,
    pub store: Store,
    pub checkpoints: CheckpointStore,
    pub metrics: Arc<Metrics>,
    pub shutdown: CancellationToken,
}

/// How a round ended, as far as this trainer is concerned.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ended {
    /// The candidate serves.
    Promoted(Version),
    /// The candidate is accepted, and scores a share of the stream until a person promotes it.
    Shadows(Version),
    /// The candidate is on record as rejected.
    Rejected(Version),
    /// It came to nothing, for this reason.
    Abandoned(String),
    /// Another trainer works on this round.
    Busy(i64),
    /// Another trainer has taken it over.
    TakenOver,
    /// This trainer is to stop; the round goes on wherever it is taken up.
    Interrupted,
}

impl Rounds {
    /// Begins a round, or takes up one that was left lying, and brings it to its end.
    ///
    /// # Errors
    /// A database that refuses. What goes wrong in the round itself abandons the round.
    pub async fn run(&self, trigger: Trigger) -> Result<Ended> {
        let new = NewRound { trigger, parameters: self.parameters().await?, owner: owner(), lease: self.config.lease };
        let (lease, earlier) = match self.store.begin_round(&new).await? {
            Begun::Busy(round) => return Ok(Ended::Busy(round.round)),
            Begun::Started(lease) => (lease, None),
            Begun::Resumed(lease, round) => (lease, Some(round)),
        };
        tracing::info!(round = lease.round, owners = lease.epoch, ?trigger, "the round begins");
        let keeper = Keeper::start(self.store.clone(), lease, self.config.lease, &self.shutdown);
        let parameters = earlier.as_ref().map_or(&new.parameters, |round| &round.parameters);
        let work = Work { rounds: self, lease, parameters, earlier: earlier.as_ref(), keeper: &keeper };
        let done = tokio::select! {
            done = work.run() => done,
            () = self.shutdown.cancelled() => Err(anyhow::anyhow!("this trainer is to stop")),
        };
        self.metrics.round_step.set(0);
        self.metrics.round_steps.set(0);
        let ended = match done {
            Ok(ended) => ended,
            Err(_) if self.shutdown.is_cancelled() => {
                // Whoever comes next need not wait for the lease to run out.
                let last = keeper.reporter.last();
                keeper.end().await;
                return Ok(match self.store.extend_lease(&lease, std::time::Duration::ZERO, &last).await? {
                    Outcome::Written => Ended::Interrupted,
                    Outcome::Fenced => Ended::TakenOver,
                });
            }
            Err(_) if keeper.stop.is_cancelled() => Ended::TakenOver,
            Err(error) => self.abandon(&lease, &error).await?,
        };
        if ended != Ended::TakenOver {
            forget(&self.config.rounds_directory(), None);
        }
        Ok(ended)
    }

    async fn abandon(&self, lease: &RoundLease, error: &anyhow::Error) -> Result<Ended> {
        let reason = format!("{error:#}");
        let abandon = async || self.store.abandon_round(lease, &reason).await;
        Ok(match retry("Postgres notes that the round failed", &self.shutdown, abandon).await? {
            Outcome::Written => Ended::Abandoned(reason),
            Outcome::Fenced => Ended::TakenOver,
        })
    }

    /// What the round is run with, for the record and for whoever takes it up.
    async fn parameters(&self) -> Result<Value> {
        let config = &self.config;
        let asked = self.store.open_request().await?.map_or(Value::Null, |request| request.parameters);
        let from = asked.get("from").cloned().unwrap_or_else(|| json!(config.from));
        Ok(json!({
            "from": from,
            "base": config.base.to_string(),
            "encoder": config.encoder,
            "tune": config.tune,
            "classes": config.classes,
            "split": config.split(),
            "policy": config.policy(),
            "settings": config.settings(&config.base).hyperparameters,
        }))
    }
}

/// The work on one round.
struct Work<'a> {
    rounds: &'a Rounds,
    lease: RoundLease,
    parameters: &'a Value,
    /// The round as its former owner left it.
    earlier: Option<&'a Round>,
    keeper: &'a Keeper,
}

impl Work<'_> {
    async fn run(&self) -> Result<Ended> {
        // A broken file is better found now than after the training.
        golden(self.rounds.config.golden())?;
        let owners = self.lease.epoch;
        ensure!(owners <= MOST_OWNERS, "given up: {} trainers ended in the middle of it", owners - 1);
        let champion = self.champion().await?;
        let dataset = self.dataset(champion.as_ref()).await?;
        let base = self.base(champion.as_ref(), &dataset)?;
        let directory = self.directory(&dataset, &base, champion.as_ref())?;
        let fitted = self.fit(base, &dataset, &directory).await?;
        self.conclude(&dataset, &fitted, champion, &directory).await
    }

    async fn champion(&self) -> Result<Option<Champion>> {
        let Rounds { config, store, checkpoints, .. } = self.rounds;
        self.keeper.reporter.phase("fetching the champion");
        Champion::fetch(store, checkpoints, &config.cache(), &self.keeper.stop).await
    }

    /// The labels as a dataset; of a round that is taken up, those that its former owner saw.
    async fn dataset(&self, champion: Option<&Champion>) -> Result<RoundDataset> {
        let Rounds { config, store, .. } = self.rounds;
        self.keeper.reporter.phase("reading labels");
        let mut labels: Vec<Label> = Vec::new();
        loop {
            let last = labels.last().map_or(0, |label| label.id);
            let read = async || store.labels_after(last, LABELS).await;
            let page = retry("Postgres gives the labels", &self.keeper.stop, read).await?;
            if page.is_empty() {
                break;
            }
            labels.extend(page);
        }
        if let Some(seen) = self.earlier.and_then(|round| round.labels_seen) {
            labels.truncate(usize::try_from(seen).unwrap_or(usize::MAX));
        }
        let seen = LabelsSeen { count: labels.len() as i64, last: labels.last().map_or(0, |label| label.id) };
        let (split, wanted, known) =
            (config.split(), config.classes.clone(), champion.map(|champion| champion.labels.clone()));
        let dataset = thread("training", Some(config.niceness), move || {
            let labels: Vec<Labeled> = labels.into_iter().map(labeled).collect();
            round_dataset(&labels, RoundClasses { champion: known.as_deref(), wanted: wanted.as_deref() }, &split)
        });
        let dataset = dataset?.await?;
        tracing::info!(counts = ?dataset.counts, fingerprint = dataset.fingerprint, "the dataset of the round");
        for warning in &dataset.warnings {
            tracing::warn!(round = self.lease.round, "{warning}");
        }
        let version = champion.map(|champion| champion.version);
        let record = async || store.record_dataset(&self.lease, &dataset.fingerprint, seen, version).await;
        match retry("Postgres notes the dataset", &self.keeper.stop, record).await? {
            Outcome::Written => Ok(dataset),
            Outcome::Fenced => self.fenced(),
        }
    }

    fn fenced<T>(&self) -> Result<T> {
        self.keeper.stop.cancel();
        bail!("another trainer has taken the round over")
    }

    /// What the training starts from. A linear champion cannot be trained further, nor one that
    /// candle-transformers computes, and other
    /// classes need a new base: never does the set of labels change because somebody used another
    /// one.
    fn base(&self, champion: Option<&Champion>, dataset: &RoundDataset) -> Result<Base> {
        let config = &self.rounds.config;
        let from = serde_json::from_value(self.parameters["from"].clone()).unwrap_or(config.from);
        let Some(champion) = champion.filter(|_| from == From::Champion) else { return Ok(config.base.clone()) };
        let kind = model_type(&champion.directory)?.unwrap_or_default();
        if kind == linear::MODEL_TYPE || ComposedFamily::of(&kind).is_some() {
            return Ok(config.base.clone());
        }
        let classes = &dataset.dataset.classes;
        ensure!(
            classes.len() == champion.labels.len() && classes.iter().all(|class| champion.labels.contains(class)),
            "the classes {} are not those of the champion ({}): they need a new base, --from base",
            classes.join(", "),
            champion.labels.join(", ")
        );
        Ok(Base::Checkpoint(champion.directory.clone()))
    }

    /// Where the round keeps its state: another place for anything that would make the training
    /// another one.
    fn directory(&self, dataset: &RoundDataset, base: &Base, champion: Option<&Champion>) -> Result<PathBuf> {
        let rounds = self.rounds.config.rounds_directory();
        let settings = serde_json::to_string(&self.rounds.config.settings(base).hyperparameters)?;
        let champion = champion.map(|champion| champion.version);
        let encoder = (&self.rounds.config.encoder, self.rounds.config.tune);
        let what = format!("{}\n{base}\n{encoder:?}\n{champion:?}\n{settings}", dataset.fingerprint);
        let name = format!("{}-{}", self.lease.round, short_digest(&what));
        forget(&rounds, Some(&name));
        Ok(rounds.join(name))
    }

    /// The encoder, and stored reviews that nobody is measured on.
    async fn pretrained(&self, base: &Base, dataset: &RoundDataset) -> Result<Option<Pretrained>> {
        let Rounds { config, store, .. } = self.rounds;
        let Some(encoder) = config.encoder.clone().filter(|_| *base == Base::New) else { return Ok(None) };
        self.keeper.reporter.phase("reading reviews without labels");
        let read = async || store.some_texts(MOST_TEXTS as u32).await;
        let unlabeled = retry("Postgres gives the reviews", &self.keeper.stop, read).await?;
        let pretrained = Pretrained { encoder, unlabeled, tunes: config.tune, cache: Some(config.embeddings()) };
        let measured: Vec<Example> = dataset.held_out.iter().chain(&dataset.dataset.valid).cloned().collect();
        let remove = move || Ok(pretrained.without_copies_of(&measured));
        Ok(Some(thread("training", Some(config.niceness), remove)?.await?))
    }

    async fn fit(&self, base: Base, dataset: &RoundDataset, directory: &Path) -> Result<Fitted> {
        let Rounds { config, metrics, .. } = self.rounds;
        let fitting = Fitting {
            settings: config.settings(&base),
            pretrained: self.pretrained(&base, dataset).await?,
            base,
            dataset: dataset.dataset.clone(),
            directory: directory.to_owned(),
            processes: config.data_parallel,
            tensorboard: config.tensorboard.as_ref().map(|all| all.join(format!("round-{}", self.lease.round))),
            leaves_out: dataset.held_out.len() < FEW,
            reporter: self.keeper.reporter.clone(),
            metrics: metrics.clone(),
            stop: self.keeper.stop.clone(),
        };
        thread("training", Some(config.niceness), move || fitting.run())?.await
    }

    /// Compares, judges, publishes and concludes; once more where somebody has changed the champion
    /// meanwhile.
    async fn conclude(
        &self,
        dataset: &RoundDataset,
        fitted: &Fitted,
        mut champion: Option<Champion>,
        directory: &Path,
    ) -> Result<Ended> {
        let parent = champion.as_ref().map(|champion| champion.version);
        for _ in 0..MOST_COMPARISONS {
            let compared = self.compare(dataset, fitted, champion.clone()).await?;
            let (compared, model) = self.publish(dataset, compared, directory, parent).await?;
            let shadow_first = self.rounds.config.shadow_first;
            let conclusion = Conclusion {
                shadow_first,
                ..conclusion(compared, model, champion.as_ref(), &dataset.warnings, &fitted.curve)
            };
            let conclude = async || self.rounds.store.conclude_round(&self.lease, &conclusion).await;
            match retry("Postgres takes the verdict", &self.keeper.stop, conclude).await? {
                Concluded::Promoted(version) => return Ok(Ended::Promoted(version)),
                Concluded::Shadows(version) => return Ok(Ended::Shadows(version)),
                Concluded::Rejected(version) => return Ok(Ended::Rejected(version)),
                Concluded::Fenced => return self.fenced(),
                Concluded::ChampionChanged { .. } => champion = self.champion().await?,
            }
        }
        bail!("the champion was changed {MOST_COMPARISONS} times while the candidate was compared with it")
    }

    async fn compare(&self, dataset: &RoundDataset, fitted: &Fitted, champion: Option<Champion>) -> Result<Compared> {
        let config = &self.rounds.config;
        self.keeper.reporter.phase("comparing");
        let picks = async || self.rounds.store.answered_picks().await;
        let picks = retry("Postgres gives the picks", &self.keeper.stop, picks).await?;
        let comparison = Comparison {
            dataset: dataset.clone(),
            origins: Origins::new(&picks, champion.as_ref().map(|champion| champion.version)),
            golden: golden(config.golden())?,
            policy: config.policy(),
            device: config.training.device,
        };
        let fitted = fitted.clone();
        let compared =
            thread("training", Some(config.niceness), move || comparison.run(&fitted, champion.as_ref()))?.await?;
        let verdict = &compared.verdict;
        tracing::info!(accepted = verdict.accepted, reason = verdict.reason, "the gate has spoken");
        for warning in warnings::of_evaluation(&verdict.evidence.candidate) {
            tracing::warn!(round = self.lease.round, "{warning}");
        }
        Ok(compared)
    }

    /// The files first: a version that is registered is complete.
    async fn publish(
        &self,
        dataset: &RoundDataset,
        compared: Compared,
        directory: &Path,
        parent: Option<Version>,
    ) -> Result<(Compared, NewModel)> {
        self.keeper.reporter.phase("publishing");
        let (round, dataset, directory) = (self.lease.round, dataset.clone(), directory.to_owned());
        // Hashing takes seconds, in which the lease must be renewed.
        let assembling = thread("publishing", Some(self.rounds.config.niceness), move || {
            let assembled = assemble(round, &dataset, &compared, &directory)?;
            let manifest_sha256 = Manifest::sha256(&assembled)?;
            Ok((assembled, manifest_sha256, compared))
        })?;
        let (assembled, manifest_sha256, compared) = assembling.await?;
        let publish = async || self.rounds.checkpoints.publish(&assembled).await;
        let uri = retry("the checkpoint store takes the candidate", &self.keeper.stop, publish).await?;
        let mut metrics = json!(compared.verdict.evidence.candidate);
        if let Some(temperature) = compared.temperature {
            metrics["temperature"] = json!(temperature);
        }
        let model =
            NewModel { uri, manifest_sha256, labels: compared.classes.clone(), metrics, parent, round: Some(round) };
        Ok((compared, model))
    }
}

pub(super) fn golden(file: Option<&Path>) -> Result<Vec<Row>> {
    file.map_or(Ok(Vec::new()), |file| read(file, &Columns::default()).context("the golden texts"))
}

fn labeled(label: Label) -> Labeled {
    let Label { id, review_id, text, label, labeled_at, .. } = label;
    Labeled { id, review_id, text, label, labeled_at }
}

/// Removes the state of other rounds. What cannot be removed now is removed after the next round.
fn forget(rounds: &Path, all_but: Option<&str>) {
    for entry in std::fs::read_dir(rounds).into_iter().flatten().flatten() {
        if all_but.is_none_or(|kept| entry.file_name() != kept) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
