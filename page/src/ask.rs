//! One text, and what every version says of it.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Form, State};
use axum::response::Html;
use axum::routing::get;
use serde::Deserialize;
use store::{Model, Version};

use crate::app::{App, Shared, page};
use crate::explanation::{Piece, explain};
use crate::failure::Failure;
use crate::opened::Said;
use crate::show;
use crate::visit::Visit;

/// Versions that are asked: the champion, the challenger, and the newest others.
/// No more than are kept open.
const MOST: usize = 4;
/// Characters of a text.
const LONGEST: usize = 20_000;

pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/ask", get(show).post(ask))
}

struct Answer {
    version: i64,
    role: &'static str,
    said: Result<Said, String>,
    pieces: Vec<Piece>,
}

#[derive(Template)]
#[template(path = "ask.html")]
struct Page<'a> {
    visit: &'a Visit,
    has_checkpoints: bool,
    text: &'a str,
    answers: Vec<Answer>,
}

async fn show(State(app): Shared, visit: Visit) -> Result<Html<String>, Failure> {
    page(&Page { visit: &visit, has_checkpoints: app.opened.has_checkpoints(), text: "", answers: Vec::new() })
}

#[derive(Deserialize)]
struct Asked {
    text: String,
}

async fn ask(State(app): Shared, visit: Visit, Form(asked): Form<Asked>) -> Result<Html<String>, Failure> {
    let text: String = asked.text.chars().take(LONGEST).collect();
    if text.trim().is_empty() {
        return Err(Failure::Refused("there is no text".to_owned()));
    }
    let _alone = app.questions_to_models.acquire().await.map_err(|_| Failure::Broken)?;
    let mut answers = Vec::new();
    for (version, role) in versions(&app).await? {
        let said = app.opened.ask(version, &text).await.map_err(|error| format!("{error:#}"));
        let pieces = match &said {
            Ok(_) => explained(&app, version, &text).await,
            Err(_) => Vec::new(),
        };
        answers.push(Answer { version: version.0, role, said, pieces });
    }
    page(&Page { visit: &visit, has_checkpoints: app.opened.has_checkpoints(), text: &text, answers })
}

async fn versions(app: &App) -> Result<Vec<(Version, &'static str)>, Failure> {
    let champion = app.store.champion().await?.map(|model| model.version);
    let shadow = app.store.shadow().await?.map(|(shadow, _)| shadow.version);
    let mut versions: Vec<(Version, &'static str)> = Vec::new();
    versions.extend(champion.map(|version| (version, "champion")));
    versions.extend(shadow.filter(|shadow| Some(*shadow) != champion).map(|version| (version, "shadow")));
    let others = app.store.models().await?;
    let others = others.iter().filter(|model: &&Model| model.collected_at.is_none()).map(|model| model.version);
    for version in others {
        if versions.len() < MOST && versions.iter().all(|(known, _)| *known != version) {
            versions.push((version, ""));
        }
    }
    Ok(versions)
}

async fn explained(app: &Arc<App>, version: Version, text: &str) -> Vec<Piece> {
    let text = show::shortened(text, 1_000);
    let explain = async {
        let model = app.opened.open(version).await?;
        tokio::task::spawn_blocking(move || explain(&model, &text)).await?
    };
    explain.await.unwrap_or_default()
}
