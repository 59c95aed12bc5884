//! What the trainer counts, for Prometheus.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use store::DriftHour;

use crate::audit::Estimate;

/// Every metric, by the name it has after `labelstream_`; counters end in `_total` outside.
pub(super) struct Metrics {
    registry: Registry,
    pub rounds: Family<ByVerdict, Counter>,
    pub round_running: Gauge,
    pub round_step: Gauge,
    pub round_steps: Gauge,
    pub new_labels: Gauge,
    pub champion_version: Gauge,
    pub labels_received: Counter,
    pub label_requests: Family<ByCode, Counter>,
    pub checkpoints_collected: Counter,
    pub database_up: Gauge,
    accuracy: Family<Bound, Gauge<f64, AtomicU64>>,
    expected_accuracy: Gauge<f64, AtomicU64>,
    drift: Family<Of, Gauge<f64, AtomicU64>>,
    drift_alarm: Family<Of, Gauge>,
    /// Why Postgres cannot be used, if it cannot.
    database: Mutex<Option<String>>,
}

/// The label set `{verdict="..."}`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct ByVerdict {
    pub verdict: &'static str,
}

/// The label set `{bound="..."}`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Bound {
    bound: &'static str,
}

/// The label set `{of="..."}`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Of {
    of: String,
}

/// The label set `{code="..."}`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct ByCode {
    pub code: u16,
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("labelstream"),
            rounds: Family::default(),
            round_running: Gauge::default(),
            round_step: Gauge::default(),
            round_steps: Gauge::default(),
            new_labels: Gauge::default(),
            champion_version: Gauge::default(),
            labels_received: Counter::default(),
            label_requests: Family::default(),
            checkpoints_collected: Counter::default(),
            database_up: Gauge::default(),
            accuracy: Family::default(),
            expected_accuracy: Gauge::default(),
            drift: Family::default(),
            drift_alarm: Family::default(),
            database: Mutex::new(Some("not connected yet".to_owned())),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("rounds", "Rounds of this trainer by verdict", self.rounds.clone());
        to.register("round_running", "1 while a round runs here", self.round_running.clone());
        to.register("round_step", "Training steps of the running round so far", self.round_step.clone());
        to.register("round_steps", "Training steps of the running round", self.round_steps.clone());
        to.register("new_labels", "Labels that no round has seen", self.new_labels.clone());
        to.register("champion_version", "The version that serves, as the registry says", self.champion_version.clone());
        to.register("labels_received", "Labels taken by POST /labels", self.labels_received.clone());
        to.register("label_requests", "Requests to /labels by status code", self.label_requests.clone());
        to.register("checkpoints_collected", "Checkpoints deleted from the store", self.checkpoints_collected.clone());
        to.register("database_up", "1 while Postgres answers", self.database_up.clone());
        let help = "Share of the champion's predictions that are right, by labels of reviews drawn at random, and the \
                    bounds of its 95% interval";
        to.register("accuracy", help, self.accuracy.clone());
        let help = "Mean of the champion's calibrated scores in the newest hour on record";
        to.register("expected_accuracy", help, self.expected_accuracy.clone());
        let help = "How far the champion's newest hour is from what it saw first";
        to.register("drift", help, self.drift.clone());
        to.register("drift_alarm", "1 where that is large and no chance", self.drift_alarm.clone());
    }

    /// How right the champion is; nothing where nobody has measured it.
    pub fn show_accuracy(&self, estimate: Option<&Estimate>) {
        self.accuracy.clear();
        let Some(estimate) = estimate else { return };
        for (bound, value) in [("estimate", estimate.value), ("low", estimate.low), ("high", estimate.high)] {
            self.accuracy.get_or_create(&Bound { bound }).set(value);
        }
    }

    /// What the champion's newest hour looks like.
    pub fn show_drift(&self, newest: Option<&DriftHour>) {
        self.drift.clear();
        self.drift_alarm.clear();
        let Some(newest) = newest else { return };
        self.expected_accuracy.set(newest.expected_accuracy);
        for (of, change) in newest.changes.as_object().into_iter().flatten() {
            let (of, is_alarm) = (Of { of: of.clone() }, newest.alarms.contains(of));
            self.drift.get_or_create(&of).set(change["size"].as_f64().unwrap_or(0.0));
            self.drift_alarm.get_or_create(&of).set(i64::from(is_alarm));
        }
    }

    /// Postgres answers.
    pub fn database_works(&self) {
        self.database_up.set(1);
        if self.database.lock().expect("no holder panics").take().is_some() {
            tracing::info!("Postgres answers");
        }
    }

    /// Postgres does not answer.
    pub fn database_fails(&self, error: &anyhow::Error) {
        let problem = format!("{error:#}");
        self.database_up.set(0);
        let mut before = self.database.lock().expect("no holder panics");
        if before.is_none() {
            tracing::warn!(problem, "Postgres does not answer");
        }
        *before = Some(problem);
    }

    /// What is wrong, if anything is: `None` means ready.
    pub fn problem(&self) -> Option<String> {
        self.database.lock().expect("no holder panics").clone()
    }

    /// Everything in the text format of OpenMetrics.
    pub fn encode(&self) -> String {
        service::http::encode(&self.registry)
    }
}
