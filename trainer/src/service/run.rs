//! The order in which things start and end, and the loop that looks for what is due.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use chrono::{DateTime, TimeDelta, Utc};
use service::http::Server;
use service::{Transient as _, owner, retry, thread};
use store::checkpoints::CheckpointStore;
use store::{DriftHour, Round, Trigger, Verdict};
use tokio_util::sync::CancellationToken;

use super::collect::collect;
use super::config::Config;
use super::copy::follow;
use super::drift::look;
use super::http::{self, Service};
use super::metrics::{ByVerdict, Metrics};
use super::round::{Ended, Rounds, golden};
use super::triggers::Waiting;
use crate::audit::accuracies;

/// Trains until `shutdown` is cancelled; with `--once`, one round.
///
/// # Errors
/// What cannot be mended by waiting: a refused login, a schema that is not migrated, an impossible
/// setting; with `--once` a round that failed, too.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    if config.copy_of.is_some() {
        return thread("training", Some(config.niceness), move || follow(&config))?.await;
    }
    // What is wrong with the settings is said before anything is waited for.
    config.check()?;
    golden(config.golden())?;
    let config = config.with_directory()?;
    let token = config.access.token()?;
    let checkpoints = config.checkpoints.open()?;
    let metrics = Arc::new(Metrics::new());
    if config.once {
        let trainer = Trainer::start(config, checkpoints, metrics, shutdown.clone());
        return match shutdown.run_until_cancelled(trainer).await {
            Some(trainer) => trainer?.once().await,
            None => Ok(()),
        };
    }
    let server = Server::bind(config.http, &config.access)?;
    let address = server.address()?;
    tracing::info!(%address, labels = token.is_some(), "http: /health/live, /health/ready, /metrics, /labels");
    let service = Service::new(token, metrics.clone());
    let store = service.store.clone();
    let work = async {
        let trainer = Trainer::start(config, checkpoints, metrics, shutdown.clone());
        let Some(trainer) = shutdown.run_until_cancelled(trainer).await else { return Ok(()) };
        let trainer = trainer?;
        // Requests for labels have waited for this.
        let _ = store.set(trainer.rounds.store.clone());
        trainer.serve().await
    };
    server.serve_during(http::router(service), work).await
}

/// How often what the champion sees is looked at.
const DRIFT_EVERY: Duration = Duration::from_secs(300);
/// Hours that are looked at after a trainer was away.
const DRIFT_HOURS: i64 = 48;

struct Trainer {
    rounds: Rounds,
    /// Up to when the schedule has been looked at without a round.
    looked_at: Option<DateTime<Utc>>,
}

impl Trainer {
    async fn start(
        config: Config,
        checkpoints: CheckpointStore,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let store = retry("Postgres answers", &shutdown, async || config.database.open().await).await?;
        retry("Postgres answers", &shutdown, async || store.check_schema().await).await?;
        metrics.database_works();
        tracing::info!("connected to Postgres");
        let rounds = Rounds { config: Arc::new(config), store, checkpoints, metrics, shutdown };
        Ok(Self { rounds, looked_at: None })
    }

    /// One round, if there is a reason for one.
    async fn once(self) -> Result<()> {
        let store = &self.rounds.store;
        let unfinished = store.last_round().await?.is_some_and(|round| round.verdict.is_none());
        let trigger = match (store.open_request().await?.is_some(), store.new_labels().await?) {
            (true, _) => Trigger::Command,
            (false, 1..) => Trigger::Once,
            _ if unfinished => Trigger::Once,
            _ => {
                tracing::info!("no label is new: nothing to do");
                return Ok(());
            }
        };
        match self.round(trigger).await? {
            Ended::Abandoned(reason) => bail!("the round failed: {reason}"),
            Ended::TakenOver => bail!("another trainer has taken the round over"),
            _ => Ok(()),
        }
    }

    async fn serve(mut self) -> Result<()> {
        let rounds = self.rounds.clone();
        tokio::select! {
            ended = self.look_and_work() => ended,
            never = rounds.observe() => match never {},
        }
    }

    async fn look_and_work(&mut self) -> Result<()> {
        let Rounds { shutdown, metrics, config, .. } = self.rounds.clone();
        while !shutdown.is_cancelled() {
            match self.step(Utc::now()).await {
                Err(error) if error.is_transient() => metrics.database_fails(&error),
                ended => ended?,
            }
            shutdown.run_until_cancelled(tokio::time::sleep(config.poll)).await;
        }
        Ok(())
    }

    /// Looks at what waits, and does the round that is due.
    async fn step(&mut self, now: DateTime<Utc>) -> Result<()> {
        let last = self.rounds.store.last_round().await?;
        if let Some(left) = last.as_ref().filter(|round| is_left_lying(round, now)) {
            let trigger = left.trigger;
            return self.round(trigger).await.map(drop);
        }
        if last.as_ref().is_some_and(|round| round.verdict.is_none()) {
            return Ok(());
        }
        let waiting = self.waiting(last.as_ref(), now).await?;
        match self.rounds.config.triggers().due(now, &waiting) {
            Some(trigger) => self.round(trigger).await.map(drop),
            None => Ok(()),
        }
    }

    async fn waiting(&mut self, last: Option<&Round>, now: DateTime<Utc>) -> Result<Waiting> {
        let store = &self.rounds.store;
        let new_labels = store.new_labels().await?;
        // Times that passed while there was nothing new are over; times that passed while no
        // trainer ran are not.
        let begun = last.map(|round| round.started_at);
        let drifted = self.rounds.config.on_drift && self.drifted_since(begun, now).await?;
        let since = self.looked_at.max(begun).unwrap_or(now);
        if new_labels == 0 || self.looked_at.is_none() && begun.is_none() {
            self.looked_at = Some(now);
        }
        Ok(Waiting {
            new_labels,
            drifted,
            requested: store.open_request().await?.is_some(),
            since,
            failed_at: last
                .filter(|round| round.verdict == Some(Verdict::Abandoned))
                .and_then(|round| round.finished_at),
        })
    }

    /// Whether the champion's last whole hour is an alarm, and no round has begun after it.
    async fn drifted_since(&self, begun: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<bool> {
        let store = &self.rounds.store;
        let Some(champion) = store.champion().await? else { return Ok(false) };
        let hours = store.drift_hours(Some(champion.version), 2).await?;
        let end = |hour: &DriftHour| hour.hour + TimeDelta::hours(1);
        let whole = hours.iter().find(|hour| end(hour) <= now);
        Ok(whole.is_some_and(|hour| !hour.alarms.is_empty() && begun.is_none_or(|begun| begun < end(hour))))
    }

    async fn round(&self, trigger: Trigger) -> Result<Ended> {
        let Rounds { metrics, config, store, checkpoints, .. } = &self.rounds;
        metrics.round_running.set(1);
        let ended = self.rounds.run(trigger).await;
        metrics.round_running.set(0);
        let ended = ended?;
        let verdict = match &ended {
            Ended::Promoted(version) => {
                tracing::info!(version = version.0, "a new champion");
                Some("accepted")
            }
            Ended::Shadows(version) => {
                let version = version.0;
                tracing::info!(version, "the candidate passes: it shadows the champion until somebody promotes it");
                Some("accepted")
            }
            Ended::Rejected(version) => {
                tracing::info!(version = version.0, "the candidate is rejected");
                Some("rejected")
            }
            Ended::Abandoned(reason) => {
                tracing::error!(reason, "the round failed");
                Some("abandoned")
            }
            Ended::TakenOver => {
                tracing::warn!("another trainer has taken the round over: this one gives it up");
                None
            }
            Ended::Busy(round) => {
                tracing::info!(round, "another trainer works on a round");
                None
            }
            Ended::Interrupted => {
                tracing::info!("the round was interrupted; it goes on where it stood");
                None
            }
        };
        let Some(verdict) = verdict else { return Ok(ended) };
        metrics.rounds.get_or_create(&ByVerdict { verdict }).inc();
        match collect(store, checkpoints, &config.cache(), config.keep_checkpoints, config.keep_for).await {
            Ok(deleted) => drop(metrics.checkpoints_collected.inc_by(deleted)),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "old checkpoints were not looked through"),
        }
        Ok(ended)
    }
}

impl Rounds {
    /// Keeps the gauges true, also while a round keeps the loop busy.
    async fn observe(&self) -> Infallible {
        let Self { store, metrics, config, .. } = self;
        let schedule = config.schedule.as_ref().map(ToString::to_string);
        let look = async || -> Result<()> {
            metrics.new_labels.set(store.new_labels().await?);
            metrics.champion_version.set(store.champion().await?.map_or(0, |champion| champion.version.0));
            Ok(())
        };
        let mut looked: Option<tokio::time::Instant> = None;
        loop {
            if looked.is_none_or(|looked| looked.elapsed() >= DRIFT_EVERY) {
                let noted = store.note_trainer(&owner(), Some(config.min_new_labels), schedule.as_deref()).await;
                if let Err(error) = noted {
                    tracing::warn!(%error, "the page cannot be told of this trainer");
                }
                if let Err(error) = self.look_at_the_stream().await {
                    tracing::warn!(error = format!("{error:#}"), "what the champion sees was not looked at");
                }
                looked = Some(tokio::time::Instant::now());
            }
            match look().await {
                Ok(()) => metrics.database_works(),
                Err(error) => metrics.database_fails(&error),
            }
            tokio::time::sleep(config.poll).await;
        }
    }
}

impl Rounds {
    /// How right the champion is, and whether the stream has changed, for the gauges.
    async fn look_at_the_stream(&self) -> Result<()> {
        let Self { store, metrics, .. } = self;
        let Some(champion) = store.champion().await? else { return Ok(()) };
        let accuracies = accuracies(&store.audited().await?);
        let of_champion = accuracies.iter().find(|accuracy| accuracy.version == champion.version);
        metrics.show_accuracy(of_champion.and_then(|accuracy| accuracy.accuracy.as_ref()));
        let newest = look(store, champion.version, Utc::now(), DRIFT_HOURS).await?;
        if let Some(hour) = newest.as_ref().filter(|hour| !hour.alarms.is_empty()) {
            let (version, alarms) = (hour.version.0, hour.alarms.join(", "));
            tracing::warn!(version, alarms, "the stream has changed: `labelstream drift` shows how");
        }
        metrics.show_drift(newest.as_ref());
        Ok(())
    }
}

/// Whether the round's trainer has given no sign of life for longer than its lease.
fn is_left_lying(round: &Round, now: DateTime<Utc>) -> bool {
    round.verdict.is_none() && round.lease_until.is_none_or(|until| until < now)
}
