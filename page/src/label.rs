//! One review at a time, for people to label.

mod copies;
mod refill;

use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Query, State};
use axum::http::header;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use store::{Asker, LabelCounts, NewLabel, Question, Queue, Subject, Way};

use crate::app::{App, Shared, page};
use crate::explanation::{Piece, explain};
use crate::failure::Failure;
use crate::people::Role;
use crate::show;
use crate::visit::Visit;

/// The words that decided are waited for so long.
const EXPLAINING: Duration = Duration::from_secs(3);
/// Characters of a review that are shown at first.
const SHOWN: usize = 3_000;

pub fn routes() -> Router<std::sync::Arc<App>> {
    Router::new()
        .route("/label", get(show).post(answer))
        .route("/label/copies", post(label_copies))
        .route("/label/tasks.json", get(tasks))
        .route("/label/import", post(import))
        .route("/guidelines", post(write_guideline))
        .route("/classes", post(add_class))
}

/// What is asked for.
#[derive(Deserialize, Default)]
struct Wanted {
    queue: Option<String>,
    /// A certain review.
    item: Option<String>,
    /// The review that was answered last.
    after: Option<String>,
    /// Labels that were just added.
    added: Option<u64>,
}

fn queue_of(name: Option<&str>) -> (Queue, &'static str) {
    match name {
        Some("disagreements") => (Queue::Disagreements, "disagreements"),
        Some("suspects") => (Queue::Suspects, "suspects"),
        _ => (Queue::Picks, "picks"),
    }
}

/// As addresses name a subject: `pick-12`, `label-7`, `review-ID`.
fn subject_of(item: &str) -> Result<Subject, Failure> {
    let (kind, id) = item.split_once('-').ok_or(Failure::NotFound)?;
    let number = || id.parse().map_err(|_| Failure::NotFound);
    match kind {
        "pick" => Ok(Subject::Pick(number()?)),
        "label" => Ok(Subject::Label(number()?)),
        "review" => Ok(Subject::Review(id.to_owned())),
        _ => Err(Failure::NotFound),
    }
}

fn item_of(queue: Queue, question: &Question) -> String {
    match queue {
        Queue::Suspects => format!("label-{}", question.id),
        _ => format!("pick-{}", question.id),
    }
}

/// A class as a button.
struct ClassButton {
    name: String,
    guideline: String,
    /// 1 to 9, where there are so few.
    key: Option<usize>,
}

/// What was answered last.
struct Answered {
    item: String,
    text: Vec<Piece>,
    label: Option<String>,
    prediction: Option<String>,
    score: Option<f32>,
    /// Whether the words that decided are marked.
    is_explained: bool,
    copies: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "label.html")]
struct Page<'a> {
    visit: &'a Visit,
    queue: &'static str,
    question: Option<Question>,
    item: String,
    /// The rest of a long text.
    rest: Option<String>,
    classes: Vec<ClassButton>,
    answered: Option<Answered>,
    counts: LabelCounts,
    new_labels: i64,
    /// Labels that are still wanted before a round starts by itself.
    to_next_round: Option<i64>,
    waiting: i64,
    added: Option<u64>,
    problem: Option<String>,
}

impl Page<'_> {
    /// The copies that a person sees, as a JSON array of their ids.
    fn shown(&self, answered: &Answered) -> String {
        let ids: Vec<&String> = answered.copies.iter().map(|(id, _)| id).collect();
        serde_json::json!(ids).to_string()
    }

    fn why(&self, question: &Question) -> &'static str {
        match question.way {
            Some(Way::Audit) => self.visit.say(
                "Drawn at random: such answers tell how right the model is.",
                "随机抽取：这类标注用于估计模型的真实准确率。",
            ),
            Some(Way::Uncertain) => self.visit.say("The model is not sure of it.", "模型对它没有把握。"),
            Some(Way::Diverse) => self.visit.say("It is unlike the other reviews.", "它与其他评论不同。"),
            Some(Way::Disagreement) => self.visit.say("Two models disagree on it.", "两个模型意见不一。"),
            None if question.claimed.is_some() => {
                self.visit.say("Its label is probably wrong.", "它的标注很可能有误。")
            }
            None => self.visit.say("You asked for it.", "您选择了它。"),
        }
    }
}

async fn show(State(app): Shared, visit: Visit, Query(wanted): Query<Wanted>) -> Result<Html<String>, Failure> {
    let session = visit.needs(Role::Labeler)?;
    let asker = Asker { holder: &session.id, person: &session.name };
    let (queue, name) = queue_of(wanted.queue.as_deref());
    let mut problem = None;
    let (question, item) = match &wanted.item {
        Some(item) => {
            let question = app.store.question(&subject_of(item)?).await?.ok_or(Failure::NotFound)?;
            (Some(question), item.clone())
        }
        None => {
            let question = match refill::next(&app, queue, asker).await {
                Ok(question) => question,
                Err(Failure::Unavailable(why)) => {
                    problem = Some(why);
                    None
                }
                Err(failure) => return Err(failure),
            };
            let item = question.as_ref().map(|question| item_of(queue, question)).unwrap_or_default();
            (question, item)
        }
    };
    let answered = match &wanted.after {
        Some(item) => answered(&app, item).await?,
        None => None,
    };
    let new_labels = app.store.new_labels().await?;
    let enough = app.store.trainer().await?.and_then(|trainer| trainer.min_new_labels);
    let text = question.as_ref().map_or("", |question| &question.text);
    page(&Page {
        queue: name,
        rest: text.char_indices().nth(SHOWN).map(|(at, _)| text[at..].to_owned()),
        item,
        classes: classes(&app).await?,
        answered,
        counts: app.store.label_counts(&session.name).await?,
        new_labels,
        to_next_round: enough.map(|enough| (enough - new_labels).max(0)),
        waiting: *app.questions.get(async || app.store.count_questions().await).await?,
        added: wanted.added,
        question,
        problem,
        visit: &visit,
    })
}

async fn classes(app: &App) -> Result<Vec<ClassButton>, Failure> {
    let names = app.store.classes().await?;
    let guidelines = app.store.guidelines().await?;
    let guideline = |name: &str| {
        guidelines.iter().find(|found| found.class == name).map_or(String::new(), |found| found.guideline.clone())
    };
    let button = |(number, name): (usize, String)| ClassButton {
        guideline: guideline(&name),
        key: (number < 9).then_some(number + 1),
        name,
    };
    Ok(names.into_iter().enumerate().map(button).collect())
}

/// What was said of a review, by the person and by the model, and why.
async fn answered(app: &App, item: &str) -> Result<Option<Answered>, Failure> {
    let Some(question) = app.store.question(&subject_of(item)?).await? else { return Ok(None) };
    let Question { text, prediction, score, version, .. } = question;
    let explained = match version {
        Some(version) if app.opened.has_checkpoints() => explained(app, version, &text).await,
        _ => None,
    };
    let is_explained = explained.is_some();
    let plain = || vec![Piece { text: show::shortened(&text, SHOWN), decides: false }];
    Ok(Some(Answered {
        item: item.to_owned(),
        label: app.store.newest_label(&text).await?,
        copies: copies::of(app, &text).await?,
        text: explained.unwrap_or_else(plain),
        prediction,
        score,
        is_explained,
    }))
}

/// Nothing where the model cannot be asked in time: a person goes on without it.
async fn explained(app: &App, version: store::Version, text: &str) -> Option<Vec<Piece>> {
    let text = show::shortened(text, SHOWN);
    let explain = async {
        let model = app.opened.open(version).await?;
        tokio::task::spawn_blocking(move || explain(&model, &text)).await?
    };
    match tokio::time::timeout(EXPLAINING, explain).await {
        Ok(Ok(pieces)) => Some(pieces),
        Ok(Err(error)) => {
            tracing::warn!(error = format!("{error:#}"), "a prediction could not be explained");
            None
        }
        Err(_) => None,
    }
}

#[derive(Deserialize)]
struct Answer {
    queue: Option<String>,
    item: String,
    label: Option<String>,
    pass: Option<String>,
    /// Ids of the near-copies that were shown, as a JSON array.
    shown: Option<String>,
}

async fn answer(State(app): Shared, visit: Visit, Form(answer): Form<Answer>) -> Result<Redirect, Failure> {
    let session = visit.needs(Role::Labeler)?;
    let asker = Asker { holder: &session.id, person: &session.name };
    let (_, queue) = queue_of(answer.queue.as_deref());
    let question = app.store.question(&subject_of(&answer.item)?).await?.ok_or(Failure::NotFound)?;
    match (answer.label, answer.pass.as_deref()) {
        (Some(label), _) => {
            let label = new_label(question.review_id, question.text.clone(), label, &session.name);
            app.store.add_labels(&[label]).await?;
            app.store.release(&question.text, &session.id).await?;
            let item: String = url::form_urlencoded::byte_serialize(answer.item.as_bytes()).collect();
            Ok(Redirect::to(&format!("/label?queue={queue}&after={item}")))
        }
        (None, Some(how @ ("skip" | "cannot_say"))) => {
            app.store.pass(&question.text, asker, how == "cannot_say").await?;
            Ok(Redirect::to(&format!("/label?queue={queue}")))
        }
        _ => Err(Failure::Refused("an answer is a label, skip or cannot_say".to_owned())),
    }
}

fn new_label(review_id: Option<String>, text: String, label: String, person: &str) -> NewLabel {
    NewLabel {
        review_id: review_id.filter(|review_id| !review_id.is_empty()),
        text: Some(text),
        label,
        labeled_by: Some(person.to_owned()),
        labeled_at: None,
        source: "page".to_owned(),
    }
}

/// Gives the label of a review to its near-copies.
async fn label_copies(State(app): Shared, visit: Visit, Form(answer): Form<Answer>) -> Result<Redirect, Failure> {
    let session = visit.needs(Role::Labeler)?;
    let (_, queue) = queue_of(answer.queue.as_deref());
    let question = app.store.question(&subject_of(&answer.item)?).await?.ok_or(Failure::NotFound)?;
    let label = answer.label.ok_or_else(|| Failure::Refused("a label is missing".to_owned()))?;
    let shown: Vec<String> = serde_json::from_str(answer.shown.as_deref().unwrap_or("[]")).unwrap_or_default();
    let mut copies = Vec::new();
    for (id, text) in copies::of(&app, &question.text).await? {
        // What nobody saw, or somebody has labeled meanwhile, is left alone.
        if shown.contains(&id) && app.store.newest_label(&text).await?.is_none() {
            copies.push((id, text));
        }
    }
    let labels = copies.into_iter().map(|(id, text)| new_label(Some(id), text, label.clone(), &session.name));
    let added = app.store.add_labels(&labels.collect::<Vec<_>>()).await?;
    app.unlabeled.forget().await;
    Ok(Redirect::to(&format!("/label?queue={queue}&added={added}")))
}

/// Reviews to label, for Label Studio.
async fn tasks(State(app): Shared, visit: Visit) -> Result<Response, Failure> {
    visit.needs(Role::Labeler)?;
    let picks = trainer::picks::most_worth_labeling(&app.store, 100, &refill::mix(&app).await?).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"tasks.json\""),
    ];
    Ok((headers, crate::tasks(&picks).to_string()).into_response())
}

/// What Label Studio exports, as the body.
async fn import(State(app): Shared, visit: Visit, body: String) -> Result<Response, Failure> {
    let session = visit.needs(Role::Labeler)?;
    let refused = |error: anyhow::Error| Failure::Refused(format!("{error:#}"));
    let export = serde_json::from_str(&body).map_err(|error| Failure::Refused(format!("not JSON: {error}")))?;
    let mut labels = crate::labels_of(&export, &session.name).map_err(refused)?;
    for label in &mut labels {
        label.source = format!("label studio, by {}", session.name);
    }
    let added = app.store.add_labels(&labels).await?;
    Ok(Redirect::to(&format!("/label?added={added}")).into_response())
}

#[derive(Deserialize)]
struct NewGuideline {
    class: String,
    guideline: String,
}

async fn write_guideline(State(app): Shared, visit: Visit, Form(new): Form<NewGuideline>) -> Result<Redirect, Failure> {
    let session = visit.needs(Role::Operator)?;
    if !app.store.classes().await?.contains(&new.class) {
        return Err(Failure::NotFound);
    }
    let guideline: String = new.guideline.chars().filter(|character| *character != '\0').take(10_000).collect();
    app.store.write_guideline(&new.class, guideline.trim(), &session.name).await?;
    app.changed(&visit, &format!("wrote the guideline of {}", new.class)).await?;
    Ok(Redirect::to("/label#guidelines"))
}

#[derive(Deserialize)]
struct NewClass {
    class: String,
}

async fn add_class(State(app): Shared, visit: Visit, Form(new): Form<NewClass>) -> Result<Redirect, Failure> {
    visit.needs(Role::Operator)?;
    let class = new.class.trim();
    if class.is_empty() || class.contains('\0') || class.chars().count() > 100 {
        return Err(Failure::Refused("a class needs a name of at most 100 characters".to_owned()));
    }
    app.store.add_class(class).await?;
    app.changed(&visit, &format!("added the class {class}")).await?;
    Ok(Redirect::to("/label#guidelines"))
}
