//! What operators decide: which version serves, which one tries, and when to train.

use axum::extract::{Form, State};
use axum::response::Redirect;
use serde::Deserialize;
use serde_json::json;
use service::promote_over_the_champion;
use store::Version;

use crate::app::Shared;
use crate::failure::Failure;
use crate::people::Role;
use crate::visit::Visit;

#[derive(Deserialize)]
pub struct Promotion {
    version: i64,
    #[serde(default)]
    why: String,
}

/// Why, with who it was.
fn why(visit: &Visit, given: &str, otherwise: &str) -> String {
    let given = given.trim();
    let why = if given.is_empty() || given.contains('\0') { otherwise } else { given };
    format!("{why} ({}, on the page)", visit.name())
}

pub async fn promote(State(app): Shared, visit: Visit, Form(form): Form<Promotion>) -> Result<Redirect, Failure> {
    visit.needs(Role::Operator)?;
    let version = Version(form.version);
    promote_over_the_champion(&app.store, version, &why(&visit, &form.why, "promoted")).await?;
    app.changed(&visit, &format!("promoted version {version}")).await?;
    Ok(Redirect::to("/models"))
}

#[derive(Deserialize)]
pub struct Rollback {
    #[serde(default)]
    why: String,
    /// The champion that the person saw.
    champion: Option<i64>,
}

pub async fn rollback(State(app): Shared, visit: Visit, Form(form): Form<Rollback>) -> Result<Redirect, Failure> {
    visit.needs(Role::Operator)?;
    let champion = app.store.champion().await?.map(|model| model.version.0);
    if form.champion.is_some() && form.champion != champion {
        let why = "the champion has changed since you looked: look again, then decide";
        app.models.forget().await;
        return Err(Failure::Refused(why.to_owned()));
    }
    let version = app.store.rollback(&why(&visit, &form.why, "rolled back")).await?;
    app.changed(&visit, &format!("rolled back to version {version}")).await?;
    Ok(Redirect::to("/models"))
}

#[derive(Deserialize)]
pub struct NewShadow {
    version: i64,
    /// In percent.
    share: f64,
}

pub async fn shadow(State(app): Shared, visit: Visit, Form(form): Form<NewShadow>) -> Result<Redirect, Failure> {
    visit.needs(Role::Operator)?;
    if !(form.share > 0.0 && form.share <= 100.0) {
        return Err(Failure::Refused("the share is above 0 and at most 100 percent".to_owned()));
    }
    app.store.start_shadow(Version(form.version), form.share / 100.0, &why(&visit, "", "started")).await?;
    app.changed(&visit, &format!("let version {} shadow {}% of the stream", form.version, form.share)).await?;
    Ok(Redirect::to("/models#shadow"))
}

pub async fn stop_shadow(State(app): Shared, visit: Visit) -> Result<Redirect, Failure> {
    visit.needs(Role::Operator)?;
    if let Some(shadow) = app.store.stop_shadow().await? {
        app.changed(&visit, &format!("stopped the shadow of version {}", shadow.version)).await?;
    }
    Ok(Redirect::to("/models#shadow"))
}

#[derive(Deserialize)]
pub struct Retrain {
    #[serde(default)]
    from: String,
}

pub async fn retrain(State(app): Shared, visit: Visit, Form(form): Form<Retrain>) -> Result<Redirect, Failure> {
    visit.needs(Role::Operator)?;
    let parameters = match form.from.as_str() {
        "" => json!({}),
        from @ ("base" | "champion") => json!({ "from": from }),
        _ => return Err(Failure::Refused("a round starts from the base or from the champion".to_owned())),
    };
    app.store.request_round(&parameters, visit.name()).await?;
    app.changed(&visit, "asked for a round").await?;
    Ok(Redirect::to("/models#rounds"))
}
