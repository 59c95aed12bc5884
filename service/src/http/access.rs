//! Who may ask: everybody on this machine; beyond it who shows the token, unless the door is open.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

use super::refusal;
use crate::Secret;

/// Who may ask a service over HTTP. The token is in a file or in the environment, never on the
/// command line.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct AccessArguments {
    /// A file that holds the token that requests must show: POST /labels always, and on an address
    /// beyond loopback all but /health; or set LABELSTREAM_TOKEN
    #[arg(id = "token_file", long = "token-file", env = "LABELSTREAM_TOKEN_FILE", value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Serve on an address beyond loopback without a token: where a proxy or a firewall decides
    #[arg(id = "http_open", long = "http-open", env = "LABELSTREAM_HTTP_OPEN")]
    pub open: bool,

    /// The token that the environment holds.
    #[arg(skip = std::env::var("LABELSTREAM_TOKEN").ok().map(Secret::from))]
    pub token: Option<Secret>,
}

impl AccessArguments {
    /// The token; `None` if there is none.
    ///
    /// # Errors
    /// A file that cannot be read. An empty token is an error, not an open door.
    pub fn token(&self) -> Result<Option<Token>> {
        let token = match &self.file {
            Some(file) => {
                let read = std::fs::read_to_string(file).with_context(|| format!("the token file {}", file.display()));
                Some(read?)
            }
            None => self.token.as_ref().map(|token| token.expose().to_owned()),
        };
        let token = token.map(|token| Secret::from(token.trim()));
        ensure!(token.as_ref().is_none_or(|token| !token.expose().is_empty()), "the token is empty");
        Ok(token.map(|token| Token(Sha256::digest(token.expose()).into())))
    }

    /// Who may ask at this address.
    ///
    /// # Errors
    /// An address beyond loopback without a token and without `--http-open`; see
    /// [`AccessArguments::token`].
    pub(super) fn at(&self, address: SocketAddr) -> Result<Access> {
        let token = self.token()?;
        if self.open || address.ip().to_canonical().is_loopback() {
            return Ok(Access { token: None });
        }
        ensure!(
            token.is_some(),
            "{address} can be reached from other machines: set a token (LABELSTREAM_TOKEN or --token-file), which \
             all but /health then needs, or say --http-open"
        );
        Ok(Access { token })
    }
}

/// What a request must show.
pub(super) struct Access {
    token: Option<Token>,
}

impl Access {
    /// Before anything of its body is read.
    pub fn allows<B>(&self, request: &Request<B>) -> bool {
        self.token.is_none_or(|token| is_health(request) || token.is_shown(request.headers()))
    }
}

/// Whether a request asks for the service's health, which everybody may, at any time.
pub(super) fn is_health<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    path == "/health" || path.starts_with("/health/")
}

/// The digest of a token: comparing digests tells nobody how far a guess was right.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// Whether a request shows it, as `authorization: Bearer TOKEN`.
    pub fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown =
            shown.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        shown.is_some_and(|(_, token)| Sha256::digest(token.trim())[..] == self.0)
    }
}

/// The answer to who shows no token, or another.
pub fn unauthorized() -> Response {
    let refused = refusal(StatusCode::UNAUTHORIZED, "unauthorized", "a bearer token is needed, and the right one");
    ([(header::WWW_AUTHENTICATE, "Bearer")], refused).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(token: Token, authorization: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, authorization.parse().unwrap())]);
        token.is_shown(&headers)
    }

    #[test]
    fn the_token_comes_from_the_environment_or_a_file_and_is_never_empty_or_shown() {
        let none = AccessArguments::default();
        assert!(none.token().unwrap().is_none());
        let told = AccessArguments { token: Some("secret".into()), ..none };
        assert!(shows(told.token().unwrap().unwrap(), "Bearer secret"));
        assert!(!format!("{told:?}").contains("secret"));

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "from the file\n").unwrap();
        let mut filed = AccessArguments { file: Some(file.clone()), ..told };
        let token = filed.token().unwrap().unwrap();
        assert!(shows(token, "bearer from the file") && !shows(token, "Bearer secret"));
        assert!(!shows(token, "from the file") && !shows(token, "Basic from the file"));
        std::fs::write(&file, "\n").unwrap();
        assert!(filed.token().is_err());
        filed.file = Some(directory.path().join("nothing"));
        assert!(filed.token().is_err());
    }

    #[test]
    fn beyond_loopback_all_but_health_needs_the_token_unless_the_door_is_said_to_be_open() {
        let [loopback, everywhere] = ["[::ffff:127.0.0.1]:0", "0.0.0.0:0"].map(|address| address.parse().unwrap());
        let none = AccessArguments::default();
        assert!(none.at(loopback).is_ok());
        let refused = none.at(everywhere).err().unwrap().to_string();
        assert!(refused.contains("LABELSTREAM_TOKEN") && refused.contains("--http-open"), "{refused}");
        let told = AccessArguments { token: Some("secret".into()), ..none };
        let asks = |access: &Access, path: &str, token: &str| {
            let request = Request::builder().uri(path).header("authorization", format!("Bearer {token}"));
            access.allows(&request.body(()).unwrap())
        };
        let access = told.at(everywhere).unwrap();
        assert!(asks(&access, "/metrics", "secret") && asks(&access, "/health/live", "guess"));
        assert!(!asks(&access, "/metrics", "guess") && !asks(&access, "/predict", ""));
        assert!(asks(&told.at(loopback).unwrap(), "/metrics", "guess"));
        let open = AccessArguments { open: true, ..told };
        assert!(asks(&open.at(everywhere).unwrap(), "/metrics", "guess"));
    }
}
