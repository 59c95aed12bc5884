//! How a person reads the page: language, colours, and whether answers are shown before one's own.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::failure::Failure;
use crate::people::{Role, Session};

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    English,
    Chinese,
}

impl Language {
    /// The words in this language.
    pub fn say(self, english: &'static str, chinese: &'static str) -> &'static str {
        match self {
            Self::English => english,
            Self::Chinese => chinese,
        }
    }

    /// As HTML names it.
    pub fn tag(self) -> &'static str {
        self.say("en", "zh-CN")
    }
}

/// Colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// As the system has it.
    System,
    Light,
    Dark,
}

/// Who asks for a page, and how it is to be shown.
#[derive(Debug, Clone)]
pub struct Visit {
    pub session: Option<Session>,
    pub language: Language,
    pub theme: Theme,
    /// Whether the model's answer is shown before one has answered.
    pub shows_answers: bool,
    /// Path and query.
    pub path: String,
    /// Whether the person signed in by a token, and so can sign out.
    pub has_signed_in: bool,
}

impl Visit {
    pub fn new(parts: &Parts, session: Option<Session>, has_signed_in: bool) -> Self {
        let headers = &parts.headers;
        let language = match cookie(headers, "language") {
            Some("zh") => Language::Chinese,
            Some("en") => Language::English,
            _ => of_browser(headers),
        };
        let theme = match cookie(headers, "theme") {
            Some("light") => Theme::Light,
            Some("dark") => Theme::Dark,
            _ => Theme::System,
        };
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let shows_answers = cookie(headers, "answers") == Some("shown");
        Self { session, language, theme, shows_answers, path, has_signed_in }
    }

    pub fn say(&self, english: &'static str, chinese: &'static str) -> &'static str {
        self.language.say(english, chinese)
    }

    pub fn name(&self) -> &str {
        self.session.as_ref().map_or("", |session| &session.name)
    }

    pub fn may_label(&self) -> bool {
        self.may(Role::Labeler)
    }

    pub fn may_operate(&self) -> bool {
        self.may(Role::Operator)
    }

    fn may(&self, role: Role) -> bool {
        self.session.as_ref().is_some_and(|session| session.role >= role)
    }

    /// The session of a person who has this role at least.
    ///
    /// # Errors
    /// Everybody else's.
    pub fn needs(&self, role: Role) -> Result<&Session, Failure> {
        self.session.as_ref().filter(|session| session.role >= role).ok_or(Failure::Forbidden)
    }

    /// Whether the current page is below this path.
    pub fn is_at(&self, path: &str) -> bool {
        self.path.split('?').next().is_some_and(|at| at == path || at.starts_with(&format!("{path}/")))
    }

    /// The address that sets something and comes back here.
    pub fn setting(&self, name: &str, value: &str) -> String {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair(name, value)
            .append_pair("to", &self.path)
            .finish();
        format!("/settings?{query}")
    }

    pub fn theme_name(&self) -> &'static str {
        match self.theme {
            Theme::System => "system",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }

    pub fn role_name(&self) -> &'static str {
        match self.session.as_ref().map(|session| session.role) {
            None => "",
            Some(Role::Viewer) => self.say("viewer", "只读"),
            Some(Role::Labeler) => self.say("labeler", "标注员"),
            Some(Role::Operator) => self.say("operator", "管理员"),
        }
    }
}

/// Put there by the guard.
impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        parts.extensions.get().cloned().ok_or(Failure::Forbidden)
    }
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// The first language of the browser's that the page has.
fn of_browser(headers: &HeaderMap) -> Language {
    let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut ranked: Vec<(f32, Language)> = (wanted.split(','))
        .filter_map(|range| {
            let mut parts = range.trim().split(';');
            let tag = parts.next()?.to_ascii_lowercase();
            let language = match tag.split('-').next()? {
                "zh" => Language::Chinese,
                "en" => Language::English,
                _ => return None,
            };
            let weight = parts.find_map(|part| part.trim().strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            Some((weight, language))
        })
        .collect();
    // Stable: of equal ones the first.
    ranked.sort_by(|one, other| other.0.total_cmp(&one.0));
    ranked.first().map_or(Language::English, |(_, language)| *language)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn the_browser_s_first_language_that_there_is_is_taken() {
        for (wanted, language) in [
            ("zh-CN,zh;q=0.9,en;q=0.8", Language::Chinese),
            ("en-US,en;q=0.9,zh;q=0.8", Language::English),
            ("de,zh;q=0.3,en;q=0.2", Language::Chinese),
            ("fr", Language::English),
            ("", Language::English),
            ("en;q=x,zh;q=0.9", Language::English),
        ] {
            assert_eq!(of_browser(&headers(header::ACCEPT_LANGUAGE, wanted)), language, "{wanted}");
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let headers = headers(header::COOKIE, "xlanguage=de; language=zh;theme=dark");
        assert_eq!(cookie(&headers, "language"), Some("zh"));
        assert_eq!((cookie(&headers, "theme"), cookie(&headers, "guage")), (Some("dark"), None));
    }
}
