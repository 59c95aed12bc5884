//! The routes.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Form, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use service::http::Monitored;
use tokio::runtime::Handle;

use crate::app::{App, Shared, page};
use crate::failure::Failure;
use crate::guard::{Door, SESSION, guard, set_cookie};
use crate::visit::Visit;
use crate::{ask, label, models, search, stream};

/// What health and metrics know.
#[derive(Clone)]
struct Health(Arc<App>);

impl Monitored for Health {
    fn problems(&self) -> Vec<(&'static str, Option<String>)> {
        vec![("database", self.0.database.get())]
    }

    fn metrics(&self) -> String {
        let works = u8::from(self.0.database.get().is_none());
        format!(
            "# HELP labelstream_page_database_up Whether Postgres answers.\n# TYPE labelstream_page_database_up gauge\n\
             labelstream_page_database_up {works}\n# EOF\n"
        )
    }
}

/// The routes of the page. They run in the runtime that this is called in.
pub fn router(app: Arc<App>) -> Router {
    let views = Router::new()
        .route("/", get(home))
        .route("/sign-in", get(sign_in).post(signed_in))
        .route("/sign-out", post(sign_out))
        .route("/settings", get(settings))
        .merge(label::routes())
        .merge(stream::routes())
        .merge(search::routes())
        .merge(models::routes())
        .merge(ask::routes())
        .fallback(async || Failure::NotFound)
        .with_state(app.clone());
    let health = service::http::router(Router::new(), Health(app.clone()));
    let assets = Router::new()
        .route("/assets/page.css", get(async || asset("text/css", include_str!("../assets/page.css"))))
        .route("/assets/page.js", get(async || asset("text/javascript", include_str!("../assets/page.js"))));
    let page = views.merge(assets).layer(middleware::from_fn_with_state(app.guard.clone(), guard));
    // The server's own thread stays free; connections to Postgres belong to this runtime.
    page.layer(middleware::from_fn_with_state(Handle::current(), elsewhere)).merge(health)
}

async fn elsewhere(State(runtime): State<Handle>, request: Request, next: Next) -> Response {
    let answered = runtime.spawn(next.run(request)).await;
    answered.unwrap_or_else(|error| {
        tracing::error!(%error, "a view ended");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })
}

fn asset(kind: &'static str, content: &'static str) -> Response {
    let headers =
        [(header::CONTENT_TYPE, format!("{kind}; charset=utf-8")), (header::CACHE_CONTROL, "max-age=60".to_owned())];
    (headers, content).into_response()
}

async fn home(visit: Visit) -> Redirect {
    Redirect::to(if visit.may_label() { "/label" } else { "/stream" })
}

#[derive(Deserialize)]
struct To {
    to: Option<String>,
    language: Option<String>,
    theme: Option<String>,
    answers: Option<String>,
}

/// A path of this page, never of another one.
fn within(to: Option<&str>) -> &str {
    to.filter(|to| {
        to.starts_with('/')
            && !to.starts_with("//")
            && !to.contains(|character: char| character == '\\' || character.is_control())
    })
    .unwrap_or("/")
}

async fn settings(Query(to): Query<To>) -> Response {
    let mut response = Redirect::to(within(to.to.as_deref())).into_response();
    let settings = [("language", &to.language), ("theme", &to.theme), ("answers", &to.answers)];
    for (name, value) in settings {
        let known = ["zh", "en", "light", "dark", "system", "shown", "hidden"];
        if let Some(value) = value.as_deref().filter(|value| known.contains(value)) {
            response.headers_mut().append(header::SET_COOKIE, set_cookie(name, value, false));
        }
    }
    response
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    visit: &'a Visit,
    to: &'a str,
    is_wrong: bool,
}

fn visit_without_session(headers: &HeaderMap) -> Visit {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.headers = headers.clone();
    Visit::new(&parts, None, false)
}

async fn sign_in(headers: HeaderMap, Query(to): Query<To>) -> Result<Html<String>, Failure> {
    let visit = visit_without_session(&headers);
    page(&SignIn { visit: &visit, to: within(to.to.as_deref()), is_wrong: false })
}

#[derive(Deserialize)]
struct Token {
    token: String,
    to: Option<String>,
}

async fn signed_in(State(app): Shared, headers: HeaderMap, Form(form): Form<Token>) -> Result<Response, Failure> {
    let Door::Tokens(people) = &app.guard.door else { return Ok(Redirect::to("/").into_response()) };
    app.guard.sign_ins.take("").map_err(|wait| Failure::TooMany(wait.as_secs() + 1))?;
    let to = within(form.to.as_deref());
    let Some(cookie) = people.sign_in(&form.token) else {
        tracing::warn!("somebody tried to sign in with a token that nobody has");
        let visit = visit_without_session(&headers);
        let again = page(&SignIn { visit: &visit, to, is_wrong: true })?;
        return Ok((StatusCode::UNAUTHORIZED, again).into_response());
    };
    let mut response = Redirect::to(to).into_response();
    let mut cookie = set_cookie(SESSION, &cookie, true).to_str().unwrap_or_default().to_owned();
    if headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https") {
        cookie.push_str("; Secure");
    }
    response.headers_mut().append(header::SET_COOKIE, cookie.parse().map_err(|_| Failure::Broken)?);
    Ok(response)
}

async fn sign_out() -> Response {
    let mut response = Redirect::to("/sign-in").into_response();
    let gone = format!("{SESSION}=; Path=/; Max-Age=0; SameSite=Lax; HttpOnly");
    response.headers_mut().append(header::SET_COOKIE, gone.parse().expect("it is ASCII"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_sent_back_to_this_page_alone() {
        assert_eq!(within(Some("/label?queue=picks")), "/label?queue=picks");
        for elsewhere in ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "/\t/evil.example", ""]
        {
            assert_eq!(within(Some(elsewhere)), "/", "{elsewhere}");
        }
        assert_eq!(within(None), "/");
    }
}
