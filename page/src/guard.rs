//! What every request passes before it comes to a view: where it comes from, who asks, how often.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};

use crate::failure::Failure;
use crate::failure_page;
use crate::limits::Limit;
use crate::people::{LIFETIME, People, Role, Session, new_session};
use crate::visit::{Visit, cookie};

/// Who may come in, and how it is known who comes.
pub enum Door {
    /// On this machine alone: everybody is an operator.
    ThisMachine,
    /// By a token.
    Tokens(People),
    /// A proxy says who it is.
    Proxy(HeaderName, People),
}

impl Door {
    /// As the flags say.
    ///
    /// # Errors
    /// An address beyond loopback without people or a proxy; a file or a header that is none.
    pub fn new(address: SocketAddr, people: Option<&Path>, user_header: Option<&str>) -> Result<Self> {
        if let Some(name) = user_header {
            let name = name.parse().with_context(|| format!("{name:?} is no name of a header"))?;
            let people = people.map_or(Ok(People::nobody()), |file| People::read(file, false))?;
            return Ok(Self::Proxy(name, people));
        }
        if let Some(file) = people {
            return Ok(Self::Tokens(People::read(file, true)?));
        }
        ensure!(
            address.ip().to_canonical().is_loopback(),
            "{address} can be reached from other machines: name the people who may use the page (--people), or the \
             header in which a proxy says who asks (--user-header)"
        );
        Ok(Self::ThisMachine)
    }

    /// Who asks; `None` is to sign in.
    fn session(&self, headers: &HeaderMap) -> Option<Session> {
        match self {
            Self::ThisMachine => Some(Session { id: browser(headers), name: "local".to_owned(), role: Role::Operator }),
            Self::Tokens(people) => people.session(cookie(headers, SESSION)?),
            Self::Proxy(name, people) => {
                let name = headers.get(name)?.to_str().ok()?.trim();
                let role = people.role(name).unwrap_or(Role::Viewer);
                (!name.is_empty()).then(|| Session { id: browser(headers), name: name.to_owned(), role })
            }
        }
    }

    /// Whether the cookie alone names the browser, and nobody.
    fn gives_cookies(&self) -> bool {
        !matches!(self, Self::Tokens(_))
    }
}

/// The cookie that tells browsers apart.
pub const SESSION: &str = "labelstream";

/// The browser that a cookie names, or a new one.
fn browser(headers: &HeaderMap) -> String {
    let is_ours = |id: &&str| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    cookie(headers, SESSION).filter(is_ours).map_or_else(new_session, str::to_owned)
}

/// The guard of a page.
pub struct Guard {
    pub door: Door,
    requests: Limit,
    changes: Limit,
    /// Of tokens that are tried, everybody's together.
    pub sign_ins: Limit,
}

impl Guard {
    pub fn new(door: Door) -> Arc<Self> {
        // A person with fast fingers, and a page that refreshes itself, in several tabs.
        let (requests, changes) = (Limit::new(30.0, 120.0), Limit::new(5.0, 30.0));
        Arc::new(Self { door, requests, changes, sign_ins: Limit::new(0.2, 10.0) })
    }

    /// Whether the request is one that a page of ours may have sent.
    ///
    /// A site elsewhere can have a browser send a form with our cookie: it names its own origin
    /// then. A name that leads to this machine today and elsewhere tomorrow can have it believe that
    /// its scripts are ours: without tokens we answer to this machine's own names alone.
    fn comes_from_us(&self, method: &Method, headers: &HeaderMap) -> bool {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if matches!(self.door, Door::ThisMachine) && !is_this_machine(host) {
            return false;
        }
        let site = text(HeaderName::from_static("sec-fetch-site"));
        if method.is_safe() {
            // A link may be followed; a picture or a script of another site has nothing to ask here.
            let follows = text(HeaderName::from_static("sec-fetch-mode")).is_none_or(|mode| mode == "navigate");
            return follows || site.is_none_or(|site| site == "same-origin" || site == "none");
        }
        match (site, text(header::ORIGIN)) {
            (Some(site), _) => site == "same-origin" || site == "none",
            (None, Some(origin)) => origin.parse::<Uri>().is_ok_and(|origin| {
                origin.authority().is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(host))
            }),
            // No browser: it has no cookies but those that it was given on purpose.
            (None, None) => true,
        }
    }

    async fn pass(&self, request: Request, next: Next) -> Response {
        let path = request.uri().path().to_owned();
        if path.starts_with("/assets/") || path.starts_with("/health/") {
            return next.run(request).await;
        }
        let (mut parts, body) = request.into_parts();
        let session = self.door.session(&parts.headers);
        let has_signed_in = matches!(self.door, Door::Tokens(_)) && session.is_some();
        let visit = Visit::new(&parts, session.clone(), has_signed_in);
        let is_safe = parts.method.is_safe();
        if !self.comes_from_us(&parts.method, &parts.headers) {
            return failure_page::page(&Failure::OtherSite, &visit);
        }
        let who = session.as_ref().map_or("", |session| match self.door {
            // Who sends no cookie is given a new one each time.
            Door::Proxy(..) => &session.name,
            _ => &session.id,
        });
        let limits = [Some(&self.requests), (!is_safe).then_some(&self.changes)];
        if let Some(wait) = limits.into_iter().flatten().find_map(|limit| limit.take(who).err()) {
            return failure_page::page(&Failure::TooMany(wait.as_secs() + 1), &visit);
        }
        let is_public = ["/sign-in", "/settings"].contains(&path.as_str());
        if session.is_none() && !is_public {
            return match (&self.door, is_safe) {
                (Door::Tokens(_), true) => {
                    let to = url::form_urlencoded::byte_serialize(visit.path.as_bytes()).collect::<String>();
                    Redirect::to(&format!("/sign-in?to={to}")).into_response()
                }
                _ => failure_page::page(&Failure::Forbidden, &visit),
            };
        }
        parts.extensions.insert(visit.clone());
        let new_cookie = session.filter(|session| {
            self.door.gives_cookies() && cookie(&parts.headers, SESSION) != Some(session.id.as_str())
        });
        let mut response = next.run(Request::from_parts(parts, body)).await;
        if let Some(failure) = response.extensions_mut().remove::<Failure>() {
            response = failure_page::page(&failure, &visit);
        }
        if let Some(session) = new_cookie {
            response.headers_mut().append(header::SET_COOKIE, set_cookie(SESSION, &session.id, true));
        }
        response
    }
}

/// The middleware.
pub async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = guard.pass(request, next).await;
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                  form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    // What a person saw is nobody else's to see, from a cache.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A cookie that scripts cannot read and other sites cannot have sent with a form.
pub fn set_cookie(name: &str, value: &str, is_secret: bool) -> HeaderValue {
    let secret = if is_secret { "; HttpOnly" } else { "" };
    let cookie = format!("{name}={value}; Path=/; Max-Age={LIFETIME}; SameSite=Lax{secret}");
    cookie.parse().expect("cookies of letters and figures are values of headers")
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_form_of_another_site_is_refused_and_one_of_ours_is_not() {
        let guard = Guard::new(Door::Tokens(People::nobody()));
        let comes = |pairs: &[(&'static str, &str)]| {
            guard.comes_from_us(&Method::POST, &headers(&[&[("host", "page.example")], pairs].concat()))
        };
        assert!(comes(&[("sec-fetch-site", "same-origin")]) && comes(&[("origin", "https://page.example")]));
        assert!(comes(&[]), "what is no browser says neither");
        assert!(!comes(&[("sec-fetch-site", "cross-site")]) && !comes(&[("sec-fetch-site", "same-site")]));
        assert!(!comes(&[("origin", "https://evil.example")]) && !comes(&[("origin", "null")]));
        assert!(!comes(&[("sec-fetch-site", "cross-site"), ("origin", "https://page.example")]));
        let look = guard.comes_from_us(&Method::GET, &headers(&[("sec-fetch-site", "cross-site")]));
        assert!(look, "a link from elsewhere may be followed");
        let picture = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
        assert!(!guard.comes_from_us(&Method::GET, &headers(&picture)), "a picture of another site");
    }

    #[test]
    fn without_tokens_the_page_answers_to_this_machine_s_names_alone() {
        let guard = Guard::new(Door::ThisMachine);
        let answers = |host| guard.comes_from_us(&Method::GET, &headers(&[("host", host)]));
        for host in ["localhost:9102", "127.0.0.1:9102", "[::1]:9102", "LOCALHOST", "127.0.0.1"] {
            assert!(answers(host), "{host}");
        }
        for host in ["evil.example:9102", "127.0.0.1.evil.example", "localhost.evil.example:9102", "192.168.0.7", ""] {
            assert!(!answers(host), "{host}");
        }
    }

    #[test]
    fn beyond_loopback_there_must_be_people_or_a_proxy() {
        let [loopback, everywhere] = ["[::ffff:127.0.0.1]:0", "0.0.0.0:0"].map(|address| address.parse().unwrap());
        assert!(matches!(Door::new(loopback, None, None), Ok(Door::ThisMachine)));
        let refused = Door::new(everywhere, None, None).err().unwrap().to_string();
        assert!(refused.contains("--people") && refused.contains("--user-header"), "{refused}");
        assert!(matches!(Door::new(everywhere, None, Some("X-Forwarded-User")), Ok(Door::Proxy(..))));
        assert!(Door::new(everywhere, None, Some("no header")).is_err());
        assert!(Door::new(loopback, Some(Path::new("/nowhere")), None).is_err());
    }

    #[test]
    fn a_proxy_names_the_person_and_the_file_says_the_role() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "ann labeler\n").unwrap();
        let everywhere = "0.0.0.0:0".parse().unwrap();
        let door = Door::new(everywhere, Some(file.path()), Some("x-user")).unwrap();
        let role = |name| door.session(&headers(&[("x-user", name)])).map(|session| session.role);
        assert_eq!((role("ann"), role("bob"), role("")), (Some(Role::Labeler), Some(Role::Viewer), None));
        assert!(door.session(&HeaderMap::new()).is_none());
    }
}
