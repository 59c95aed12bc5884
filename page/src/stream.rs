//! How the stream is doing: lag, rate, time from end to end, what could not be read, and what was
//! said by the hour.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Query, State};
use axum::response::{Html, Redirect};
use axum::routing::{get, post};
use chrono::{TimeDelta, Utc};
use serde::Deserialize;
use service::broker;
use store::{DeadExample, DeadLetterFilter, DeadReason};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Shared, page};
use crate::chart::{Legend, bars};
use crate::failure::Failure;
use crate::live::Live;
use crate::people::Role;
use crate::show;
use crate::visit::Visit;

/// Dead letters that are replayed at once: a request does not take longer than people wait.
const REPLAYED: u32 = 1_000;
/// Dead letters that are shown.
const SHOWN: u32 = 30;

pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/stream", get(show))
        .route("/dead-letters", get(dead_letters))
        .route("/dead-letters/replay", post(replay))
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
    let live = app.live.get(async || Live::look(&app.store, &app.config, &app.ends, &app.rates).await).await?;
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
