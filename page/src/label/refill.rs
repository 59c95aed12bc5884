//! Queues that are filled as they empty.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use store::{Asker, Label, Question, Queue, SuspectLabel, Way};
use trainer::picks::{Mix, POOL, most_worth_labeling, picked, that_cover};
use trainer::prepare::key;
use trainer::suspects::{dataset, newest, out_of_fold, suspects};

use crate::app::App;
use crate::failure::Failure;

/// Reviews that are picked at once: few enough that the next ones come from what was learned since.
const AT_ONCE: u32 = 40;
/// Fewer waiting ones than this are made more.
const FEW: i64 = 12;
/// A queue in which there was nothing is not looked into again before.
const REST: Duration = Duration::from_secs(3);
/// Suspects are looked for anew after so many labels.
const NEW_LABELS: i64 = 20;
/// Newest labels that are looked through.
const LOOKED_THROUGH: u32 = 20_000;
/// A person does not wait for longer; suspects are looked for all the same.
const PATIENCE: Duration = Duration::from_secs(5);
/// Suspects that are kept.
const MOST_SUSPECTS: usize = 200;

/// The next review of a queue, which is filled first if it is empty.
pub async fn next(app: &Arc<App>, queue: Queue, asker: Asker<'_>) -> Result<Option<Question>, Failure> {
    if queue == Queue::Suspects {
        let look = tokio::spawn(look_for_suspects(app.clone()));
        // Else those that were found before are shown.
        if let Ok(looked) = tokio::time::timeout(PATIENCE, look).await {
            looked.context("looking for suspects ended")??;
        }
    }
    let question = app.store.next_question(queue, asker).await?;
    if question.is_none() {
        match queue {
            Queue::Picks => fill(app, false).await?,
            Queue::Disagreements => add_disagreements(app).await?,
            Queue::Suspects => return Ok(None),
        }
        return Ok(app.store.next_question(queue, asker).await?);
    }
    if queue == Queue::Picks && *app.questions.get(async || app.store.count_questions().await).await? < FEW {
        let app = app.clone();
        // Nobody waits for it.
        tokio::spawn(async move {
            if let Err(failure) = fill(&app, true).await {
                tracing::warn!(?failure, "the queue could not be filled");
            }
        });
    }
    Ok(question)
}

/// How reviews are mixed: without those that wait already, or that people passed over.
pub async fn mix(app: &App) -> Result<Mix, Failure> {
    Ok(Mix {
        audit_share: app.config.audit_share,
        has_second_opinion: true,
        encoder: app.config.encoder.clone(),
        asked: app.store.asked_texts().await?.into_iter().collect(),
    })
}

async fn fill(app: &App, may_be_full: bool) -> Result<(), Failure> {
    let mut refilled = app.refilling.lock().await;
    if refilled.picks.is_some_and(|at| at.elapsed() < REST) {
        return Ok(());
    }
    if may_be_full && app.store.count_questions().await? >= FEW {
        return Ok(());
    }
    if app.store.has_predictions().await? {
        most_worth_labeling(&app.store, AT_ONCE, &mix(app).await?).await?;
    } else if let Some(kafka) = app.config.kafka() {
        let topic = consumer::Config {
            kafka,
            topic: app.config.topic.clone(),
            text_field: app.config.text_field.clone(),
            id_field: app.config.id_field.clone(),
            ..consumer::Config::default()
        };
        let reviews = consumer::newest_reviews(&topic, POOL as usize).await?;
        that_cover(&app.store, reviews, AT_ONCE, &mix(app).await?).await?;
    }
    refilled.picks = Some(Instant::now());
    app.questions.forget().await;
    Ok(())
}

/// Those of the challenger in the shadow, the surest first.
async fn add_disagreements(app: &App) -> Result<(), Failure> {
    let mut refilled = app.refilling.lock().await;
    if refilled.disagreements.is_some_and(|at| at.elapsed() < REST) {
        return Ok(());
    }
    let asked: HashSet<String> = app.store.asked_texts().await?.into_iter().collect();
    let contested = app.store.shadow_disagreements(AT_ONCE + asked.len() as u32).await?;
    let contested = contested.into_iter().filter(|predicted| !asked.contains(&predicted.text)).take(AT_ONCE as usize);
    let picks: Vec<_> = contested.map(|predicted| picked(predicted, Way::Disagreement)).collect();
    app.store.record_picks(&picks).await?;
    refilled.disagreements = Some(Instant::now());
    Ok(())
}

async fn look_for_suspects(app: Arc<App>) -> Result<(), Failure> {
    let mut refilled = app.refilling.lock().await;
    let labels = app.store.count_labels().await?;
    if refilled.suspects.is_some_and(|before| labels < before + NEW_LABELS) {
        return Ok(());
    }
    let all = app.store.newest_labels(LOOKED_THROUGH).await?;
    let look = move || {
        let settled = said_twice(&all);
        let labels = newest(all);
        let dataset = dataset(labels.iter().map(|label| (label.text.as_str(), label.label.as_str())))?;
        let probabilities = out_of_fold(&dataset, None)?;
        let found = suspects(&dataset, &probabilities).into_iter();
        // What was said again is not asked a third time.
        let is_open = |label: &Label| !settled.contains(&(key(&label.text), label.label.clone()));
        let found = found.filter(|suspect| is_open(&labels[suspect.index])).take(MOST_SUSPECTS);
        let found = found.map(|suspect| SuspectLabel {
            label: labels[suspect.index].id,
            claimed: dataset.classes[suspect.claimed].clone(),
            probability: suspect.probability,
        });
        anyhow::Ok(found.collect::<Vec<_>>())
    };
    let looked = tokio::task::spawn_blocking(look).await.context("looking for suspects ended")?;
    // Too few labels to contradict one.
    let found = looked.map_err(|error| Failure::Unavailable(format!("{error:#}")))?;
    app.store.record_suspects(&found).await?;
    refilled.suspects = Some(labels);
    Ok(())
}

/// Texts with the class that two labels give them.
fn said_twice(labels: &[Label]) -> HashSet<(String, String)> {
    let mut once = HashSet::new();
    let said = labels.iter().map(|label| (key(&label.text), label.label.clone()));
    said.filter(|said| !once.insert(said.clone())).collect()
}
