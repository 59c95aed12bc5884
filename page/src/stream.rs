//! How the stream is doing: lag, rate, time from end to end, what could not be read, and what was
//! said by the hour.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use askama::Template;
use axum::Router;
use axum::extract::{Form, Query, State};
use axum::response::{Html, Redirect};
use axum::routing::{get, post};
use chrono::{TimeDelta, Utc};
use serde::Deserialize;
use service::KafkaArguments;
use service::broker::{self, Ends};
use store::{DeadExample, DeadLetterFilter, DeadReason, Deployment, EndToEnd, PartitionStatus, StoreError};
use tokio_util::sync::CancellationToken;

use crate::chart::{Legend, bars};
use crate::failure::Failure;
use crate::people::Role;
use crate::server::{App, Shared, page};
use crate::show;
use crate::visit::Visit;

/// Dead letters that are replayed at once: a request does not take longer than people wait.
const REPLAYED: u32 = 1_000;
/// Dead letters that are shown.
const SHOWN: u32 = 30;
/// A broker that takes longer is away: the rest is shown without it.
const PATIENCE: Duration = Duration::from_secs(3);
/// Deployments that are shown.
const DEPLOYMENTS: usize = 10;
/// Looks at the positions that the rate is told by.
const LOOKS: usize = 20;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/stream", get(show))
        .route("/dead-letters", get(dead_letters))
        .route("/dead-letters/replay", post(replay))
}

/// What everybody who watches sees.
pub struct Live {
    partitions: Vec<PartitionStatus>,
    ends: Option<Arc<Result<Ends, String>>>,
    end_to_end: EndToEnd,
    dead: Vec<DeadReason>,
    rate: Option<f64>,
    deployments: Vec<Deployment>,
}

/// Where the positions stood, at the last few looks.
#[derive(Default)]
pub struct Rates(VecDeque<(Instant, i64)>);

impl Rates {
    /// Records a second since the look of a minute ago or so; `None` at the first look.
    fn look(&mut self, records: i64) -> Option<f64> {
        let now = Instant::now();
        if self.0.back().is_some_and(|(_, before)| *before > records) {
            // A database that was made anew.
            self.0.clear();
        }
        self.0.push_back((now, records));
        while self.0.len() > LOOKS || self.0.front().is_some_and(|(at, _)| at.elapsed().as_secs() > 120) {
            self.0.pop_front();
        }
        let (first, before) = self.0.front()?;
        let seconds = (now - *first).as_secs_f64();
        (seconds > 0.5).then(|| (records - before) as f64 / seconds)
    }
}

impl Live {
    async fn look(app: &App) -> Result<Self, StoreError> {
        let pipeline = &app.config.pipeline;
        let partitions = app.store.partitions(pipeline).await?;
        let records = partitions.iter().map(|row| row.predictions + row.dead_letters + row.tombstones).sum();
        let rate = app.rates.lock().expect("a poisoned lock is a bug").look(records);
        let ends = match app.config.kafka() {
            Some(kafka) => Some(app.ends.get(async || Ok::<_, StoreError>(look_at(&kafka, &partitions).await)).await?),
            None => None,
        };
        Ok(Self {
            end_to_end: app.store.end_to_end(pipeline).await?,
            dead: app.store.dead_reasons(pipeline).await?,
            deployments: app.store.deployments().await?.into_iter().take(DEPLOYMENTS).collect(),
            partitions,
            ends,
            rate,
        })
    }

    fn lag_of(&self, partition: &PartitionStatus) -> Option<i64> {
        let ends = self.ends.as_deref()?.as_ref().ok()?;
        broker::end_of(partition, ends).map(|end| (end - partition.next_offset.0).max(0))
    }

    fn lag(&self) -> Option<i64> {
        let lags: Option<Vec<i64>> = self.partitions.iter().map(|partition| self.lag_of(partition)).collect();
        lags.filter(|lags| !lags.is_empty()).map(|lags| lags.iter().sum())
    }

    fn lag_unknown(&self) -> Option<&str> {
        self.ends.as_deref()?.as_ref().err().map(String::as_str)
    }

    fn halted(&self) -> usize {
        self.partitions.iter().filter(|partition| partition.stands_still().is_some()).count()
    }
}

/// Where the partitions end, or why that is not known.
async fn look_at(kafka: &KafkaArguments, partitions: &[PartitionStatus]) -> Result<Ends, String> {
    match tokio::time::timeout(PATIENCE, broker::ends(kafka, partitions)).await {
        Ok(ends) => ends.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("no broker of {} has answered within {} s", kafka.brokers, PATIENCE.as_secs())),
    }
}

#[derive(Deserialize)]
struct Wanted {
    by: Option<String>,
}

#[derive(Template)]
#[template(path = "stream.html")]
struct Page<'a> {
    visit: &'a Visit,
    live: &'a Live,
    pipeline: &'a str,
    by: &'static str,
    classes: (String, Legend),
    versions: (String, Legend),
    totals: Vec<(String, String, String)>,
    dead: i64,
}

async fn show(State(app): Shared, visit: Visit, Query(wanted): Query<Wanted>) -> Result<Html<String>, Failure> {
    let live = app.live.get(async || Live::look(&app).await).await?;
    let (by, unit, since) = match wanted.by.as_deref() {
        Some("day") => ("day", TimeDelta::days(1), TimeDelta::days(30)),
        _ => ("hour", TimeDelta::hours(1), TimeDelta::hours(48)),
    };
    let kept = if by == "day" { &app.days } else { &app.hours };
    let counts = kept.get(async || app.store.counts(&app.config.pipeline, by, Utc::now() - since).await).await?;
    page(&Page {
        pipeline: &app.config.pipeline,
        by,
        classes: bars(&counts, unit, |count| count.label.clone()),
        versions: bars(&counts, unit, |count| format!("v{}", count.version)),
        totals: totals(&counts),
        dead: live.dead.iter().map(|reason| reason.letters).sum(),
        live: &live,
        visit: &visit,
    })
}

/// Each class with its count and its share, for those who do not see the picture.
fn totals(counts: &[store::Count]) -> Vec<(String, String, String)> {
    let mut totals = std::collections::BTreeMap::<&str, f64>::new();
    for count in counts {
        *totals.entry(&count.label).or_default() += count.predictions;
    }
    let all: f64 = totals.values().sum();
    let row = |(label, count): (&str, f64)| {
        (label.to_owned(), show::grouped(count.round() as i64), show::percent(count / all.max(1.0)))
    };
    totals.into_iter().map(row).collect()
}

#[derive(Deserialize)]
struct Reason {
    reason: Option<String>,
    replayed: Option<usize>,
}

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct DeadLetters<'a> {
    visit: &'a Visit,
    reasons: Vec<DeadReason>,
    reason: Option<&'a str>,
    letters: Vec<DeadExample>,
    has_brokers: bool,
    replayed: Option<usize>,
}

impl DeadLetters<'_> {
    fn is_shown(&self, reason: &DeadReason) -> bool {
        self.reason == Some(&reason.reason)
    }
}

async fn dead_letters(State(app): Shared, visit: Visit, Query(wanted): Query<Reason>) -> Result<Html<String>, Failure> {
    let (pipeline, reason) = (&app.config.pipeline, wanted.reason.as_deref().filter(|reason| !reason.is_empty()));
    page(&DeadLetters {
        reasons: app.store.dead_reasons(pipeline).await?,
        letters: app.store.dead_examples(pipeline, reason, SHOWN).await?,
        reason,
        has_brokers: app.config.brokers.is_some(),
        replayed: wanted.replayed,
        visit: &visit,
    })
}

async fn replay(State(app): Shared, visit: Visit, Form(wanted): Form<Reason>) -> Result<Redirect, Failure> {
    visit.needs(Role::Operator)?;
    let no_brokers = || Failure::Refused("this page was started without --brokers".to_owned());
    let kafka = app.config.kafka().ok_or_else(no_brokers)?;
    let reason = wanted.reason.filter(|reason| !reason.is_empty());
    let filter = DeadLetterFilter {
        pipeline: Some(app.config.pipeline.clone()),
        topic: None,
        reason: reason.clone(),
        since: None,
        unreplayed: true,
        limit: Some(REPLAYED),
    };
    let mut letters = app.store.dead_letters(&filter).await?;
    letters.reverse();
    let of = reason.as_deref().map_or(String::new(), |reason| format!(" of {reason}"));
    let done = match broker::replay(&app.store, &kafka, &letters, None, &CancellationToken::new()).await {
        Ok(done) => done,
        Err(error) => {
            // Some may have arrived.
            app.changed(&visit, &format!("tried to replay dead letters{of}: {error:#}")).await?;
            return Err(error.into());
        }
    };
    app.changed(&visit, &format!("replayed {} dead letters{of}", done.replayed)).await?;
    app.live.forget().await;
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("reason", &reason.unwrap_or_default())
        .append_pair("replayed", &done.replayed.to_string())
        .finish();
    Ok(Redirect::to(&format!("/dead-letters?{query}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_told_by_two_looks_and_forgets_a_database_that_was_made_anew() {
        let mut rates = Rates::default();
        assert_eq!(rates.look(100), None);
        rates.0[0].0 -= std::time::Duration::from_secs(10);
        let rate = rates.look(600).unwrap();
        assert!((49.0..=50.0).contains(&rate), "{rate}");
        assert_eq!(rates.look(5), None);
    }
}
