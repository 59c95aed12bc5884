//! What goes wrong for whoever asks, in words.

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use store::StoreError;

use crate::visit::Visit;

/// Why a request is not answered as it was meant.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The person may not do that.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// What was sent makes no sense, or is refused; why.
    Refused(String),
    /// Too many requests; seconds to wait.
    TooMany(u64),
    /// The request comes from another site.
    OtherSite,
    /// Postgres, Kafka or the checkpoint store does not answer; why.
    Unavailable(String),
    /// A fault of the page's own; it is in the log.
    Broken,
}

/// Without a person's words yet: the guard turns it into a page.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if error.is_transient() {
            return Self::Unavailable(error.to_string());
        }
        match error {
            StoreError::Failed(_) => {
                tracing::error!(%error, "Postgres refuses a question of the page");
                Self::Broken
            }
            error => Self::Refused(error.to_string()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<StoreError>() {
            Ok(error) => error.into(),
            Err(error) => Self::Unavailable(format!("{error:#}")),
        }
    }
}

impl From<askama::Error> for Failure {
    fn from(error: askama::Error) -> Self {
        tracing::error!(%error, "a page could not be made");
        Self::Broken
    }
}

#[derive(Template)]
#[template(path = "failure.html")]
struct Page<'a> {
    visit: &'a Visit,
    title: &'static str,
    why: &'a str,
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Forbidden | Self::OtherSite => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// As a page.
    pub fn page(&self, visit: &Visit) -> Response {
        let why = match self {
            Self::Refused(why) | Self::Unavailable(why) => why,
            _ => "",
        };
        let page = Page { visit, title: self.title(visit), why }.render().unwrap_or_default();
        let mut response = (self.status(), Html(page)).into_response();
        if let Self::TooMany(seconds) = self {
            response.headers_mut().insert(header::RETRY_AFTER, (*seconds).into());
        }
        response
    }

    fn title(&self, visit: &Visit) -> &'static str {
        match self {
            Self::Forbidden => visit.say("You may not do this. Ask an operator.", "您没有这个权限，请联系管理员。"),
            Self::NotFound => visit.say("There is nothing here.", "这里什么也没有。"),
            Self::Refused(_) => visit.say("This was refused.", "请求被拒绝。"),
            Self::TooMany(_) => {
                visit.say("Too many requests. Wait a moment, then try again.", "请求太频繁，请稍等后重试。")
            }
            Self::OtherSite => visit.say(
                "This request comes from another site, so nothing was done. Use the page itself.",
                "该请求来自其他网站，未执行任何操作。请在本页面操作。",
            ),
            Self::Unavailable(_) => {
                visit.say("Something this page needs does not answer. Try again.", "所依赖的服务没有响应，请重试。")
            }
            Self::Broken => visit.say("The page has a fault. Its log says which.", "页面出错，详情见日志。"),
        }
    }
}
