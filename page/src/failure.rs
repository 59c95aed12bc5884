//! What goes wrong for whoever asks, in words.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use store::StoreError;

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

impl Failure {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Forbidden | Self::OtherSite => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
