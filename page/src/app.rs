//! What the views share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use askama::Template;
use axum::extract::State;
use axum::response::Html;
use service::broker::Ends;
use store::{Count, Store};
use tokio::sync::Semaphore;
use trainer::audit::Accuracy;

use crate::config::Config;
use crate::failure::Failure;
use crate::fresh::Fresh;
use crate::guard::Guard;
use crate::live::{Live, Rates};
use crate::opened::Opened;
use crate::registry::Registry;
use crate::visit::Visit;

/// What the views share: nothing that would be missed if it were lost.
pub struct App {
    pub config: Config,
    pub store: Store,
    pub opened: Arc<Opened>,
    pub guard: Arc<Guard>,
    /// Whether Postgres answers.
    pub database: Problem,
    pub live: Fresh<Live>,
    pub ends: Fresh<Result<Ends, String>>,
    pub models: Fresh<Registry>,
    pub accuracies: Fresh<BTreeMap<i64, Accuracy>>,
    pub rates: Mutex<Rates>,
    pub hours: Fresh<Vec<Count>>,
    pub days: Fresh<Vec<Count>>,
    pub unlabeled: Fresh<Vec<(String, String)>>,
    pub questions: Fresh<i64>,
    /// Searches at a time: there are few connections, and others label.
    pub searches: Semaphore,
    /// Questions to models at a time.
    pub questions_to_models: Semaphore,
    pub refilling: tokio::sync::Mutex<Refilled>,
}

/// What is wrong, if anything is.
#[derive(Default)]
pub struct Problem(Mutex<Option<String>>);

impl Problem {
    pub fn set(&self, problem: Option<String>) {
        *self.0.lock().expect("a poisoned lock is a bug") = problem;
    }

    /// What was set last.
    pub fn get(&self) -> Option<String> {
        self.0.lock().expect("a poisoned lock is a bug").clone()
    }
}

impl App {
    pub fn new(config: Config, store: Store, opened: Arc<Opened>, guard: Arc<Guard>) -> Self {
        let fresh = Duration::from_secs;
        Self {
            config,
            store,
            opened,
            guard,
            database: Problem::default(),
            // A little less than an open view waits.
            live: Fresh::new(Duration::from_millis(4_500)),
            ends: Fresh::new(fresh(10)),
            models: Fresh::new(fresh(12)),
            accuracies: Fresh::new(fresh(30)),
            rates: Mutex::default(),
            hours: Fresh::new(fresh(30)),
            days: Fresh::new(fresh(120)),
            unlabeled: Fresh::new(fresh(30)),
            questions: Fresh::new(fresh(5)),
            searches: Semaphore::new(1),
            questions_to_models: Semaphore::new(1),
            refilling: tokio::sync::Mutex::default(),
        }
    }

    /// Puts down that a person changed something.
    pub async fn changed(&self, visit: &Visit, change: &str) -> Result<(), Failure> {
        tracing::info!(person = visit.name(), change, "changed on the page");
        self.store.record_change(visit.name(), change).await?;
        self.models.forget().await;
        Ok(())
    }
}

/// When queues were filled last.
#[derive(Default)]
pub struct Refilled {
    pub picks: Option<Instant>,
    pub disagreements: Option<Instant>,
    /// And how many labels there were.
    pub suspects: Option<i64>,
}

pub type Shared = State<Arc<App>>;

/// A template as a page.
pub fn page(template: &impl Template) -> Result<Html<String>, Failure> {
    Ok(Html(template.render()?))
}
