//! Who uses the page, what each may do, and the cookie by which a browser is known.
//!
//! A cookie is signed with a key that is made of its person's token: any page that knows the people
//! knows the cookie too, and who loses the token is signed out.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use chrono::Utc;
use hmac::{Hmac, KeyInit as _, Mac as _};
use service::Secret;
use sha2::{Digest as _, Sha256};

/// What a person may do; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look at everything.
    Viewer,
    /// Label reviews.
    Labeler,
    /// Promote, roll back, retrain, replay, write guidelines.
    Operator,
}

/// A person who may use the page.
struct Person {
    name: String,
    role: Role,
    token: Option<Secret>,
}

/// Those who may use the page.
pub struct People(Vec<Person>);

/// A browser, and who sits before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Tells browsers apart, of one person too.
    pub id: String,
    /// The person.
    pub name: String,
    /// What the person may do.
    pub role: Role,
}

/// Seconds that a cookie is good for.
pub const LIFETIME: i64 = 30 * 24 * 3600;
/// Tokens below this can be guessed.
const SHORTEST_TOKEN: usize = 12;

impl People {
    /// Reads the file: a name, a role and a token a line; a token may be left out where a proxy says
    /// who asks.
    ///
    /// # Errors
    /// A file that cannot be read; a line that says something else. No error shows a token.
    pub fn read(file: &Path, needs_tokens: bool) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("the people in {}", file.display()))?;
        Self::parse(&text, needs_tokens).with_context(|| format!("the people in {}", file.display()))
    }

    fn parse(text: &str, needs_tokens: bool) -> Result<Self> {
        let mut people: Vec<Person> = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, role, token) = match words[..] {
                [name, role] => (name, role, None),
                [name, role, token] => (name, role, Some(token)),
                _ => bail!("line {number} is not a name, a role and a token"),
            };
            let role = match role {
                "viewer" => Role::Viewer,
                "labeler" => Role::Labeler,
                "operator" => Role::Operator,
                _ => bail!("line {number}: the role of {name} is not viewer, labeler or operator"),
            };
            ensure!(token.is_some() || !needs_tokens, "line {number}: {name} has no token");
            ensure!(
                token.is_none_or(|token| token.len() >= SHORTEST_TOKEN),
                "line {number}: the token of {name} is shorter than {SHORTEST_TOKEN} characters"
            );
            ensure!(people.iter().all(|person| person.name != name), "line {number}: {name} is there twice");
            let token = token.map(Secret::from);
            let is_new = |token: &Secret| people.iter().all(|person| person.token.as_ref() != Some(token));
            ensure!(token.as_ref().is_none_or(is_new), "line {number}: {name} has somebody else's token");
            people.push(Person { name: name.to_owned(), role, token });
        }
        ensure!(!people.is_empty() || !needs_tokens, "there is nobody in it");
        Ok(Self(people))
    }

    /// Nobody in particular.
    pub fn nobody() -> Self {
        Self(Vec::new())
    }

    /// The role of a person of this name.
    pub fn role(&self, name: &str) -> Option<Role> {
        self.0.iter().find(|person| person.name == name).map(|person| person.role)
    }

    /// The cookie of a new browser of whoever has this token.
    pub fn sign_in(&self, token: &str) -> Option<String> {
        let shown = Sha256::digest(token.trim());
        // Digests are compared, so that how long it takes tells nobody how far a guess was right.
        let is_theirs =
            |person: &&Person| person.token.as_ref().is_some_and(|token| Sha256::digest(token.expose()) == shown);
        let person = self.0.iter().find(is_theirs)?;
        let signed = format!("{}.{}.{}", new_session(), Utc::now().timestamp(), hex::encode(&person.name));
        Some(format!("{signed}.{}", hex::encode(mac(person.token.as_ref()?, &signed).finalize().into_bytes())))
    }

    /// Whose cookie it is, if it is one of ours and not too old.
    pub fn session(&self, cookie: &str) -> Option<Session> {
        let (signed, signature) = cookie.rsplit_once('.')?;
        let [id, issued, name]: [&str; 3] = signed.split('.').collect::<Vec<_>>().try_into().ok()?;
        let name = String::from_utf8(hex::decode(name).ok()?).ok()?;
        let person = self.0.iter().find(|person| person.name == name)?;
        mac(person.token.as_ref()?, signed).verify_slice(&hex::decode(signature).ok()?).ok()?;
        let age = Utc::now().timestamp() - issued.parse::<i64>().ok()?;
        (0..LIFETIME).contains(&age).then(|| Session { id: id.to_owned(), name, role: person.role })
    }
}

fn mac(token: &Secret, signed: &str) -> Hmac<Sha256> {
    let key = Sha256::digest(format!("labelstream page\n{}", token.expose()));
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key may have any length");
    mac.update(signed.as_bytes());
    mac
}

/// A new name for a browser, which nobody can guess.
pub fn new_session() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("a system without random numbers cannot serve");
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# who may\nann labeler token-of-ann-1\n\nbob operator token-of-bob-1\n";

    #[test]
    fn a_cookie_is_good_for_its_person_until_the_token_changes() {
        let people = People::parse(FILE, true).unwrap();
        assert!(people.sign_in("guess").is_none() && people.sign_in("").is_none());
        let cookie = people.sign_in(" token-of-ann-1\n").unwrap();
        let session = people.session(&cookie).unwrap();
        assert_eq!((session.name.as_str(), session.role), ("ann", Role::Labeler));
        assert_ne!(people.session(&people.sign_in("token-of-ann-1").unwrap()).unwrap().id, session.id);
        // Another page that knows the same people knows it too.
        assert_eq!(People::parse(FILE, true).unwrap().session(&cookie), Some(session));
        let changed = FILE.replace("token-of-ann-1", "token-of-ann-2");
        assert_eq!(People::parse(&changed, true).unwrap().session(&cookie), None);
        assert_eq!(People::parse("bob operator token-of-bob-1", true).unwrap().session(&cookie), None);
    }

    #[test]
    fn a_cookie_that_anybody_has_changed_is_none() {
        let people = People::parse(FILE, true).unwrap();
        let cookie = people.sign_in("token-of-ann-1").unwrap();
        let parts: Vec<&str> = cookie.split('.').collect();
        let bob = hex::encode("bob");
        let later = (Utc::now().timestamp() + 1).to_string();
        for changed in [
            [parts[0], parts[1], &bob, parts[3]].join("."),
            [parts[0], &later, parts[2], parts[3]].join("."),
            ["0", parts[1], parts[2], parts[3]].join("."),
            [parts[0], parts[1], parts[2], ""].join("."),
            parts[..3].join("."),
            String::new(),
        ] {
            assert_eq!(people.session(&changed), None, "{changed}");
        }
    }

    #[test]
    fn an_old_cookie_is_none() {
        let people = People::parse(FILE, true).unwrap();
        let issued = Utc::now().timestamp() - LIFETIME;
        let signed = format!("0.{issued}.{}", hex::encode("ann"));
        let signature = mac(&"token-of-ann-1".into(), &signed).finalize().into_bytes();
        assert_eq!(people.session(&format!("{signed}.{}", hex::encode(signature))), None);
    }

    #[test]
    fn a_file_that_says_something_else_is_refused_and_no_token_is_shown() {
        for (text, expected) in [
            ("ann", "line 1 is not"),
            ("ann labeler token-of-ann-1 more", "line 1 is not"),
            ("ann boss token-of-ann-1", "the role of ann"),
            ("ann labeler", "ann has no token"),
            ("ann labeler secret", "shorter"),
            ("ann labeler token-of-ann-1\nann viewer token-of-ann-2", "line 2: ann is there twice"),
            ("ann labeler token-of-ann-1\nbob viewer token-of-ann-1", "line 2: bob has somebody else's"),
            ("# nobody", "nobody"),
        ] {
            let error = People::parse(text, true).err().unwrap().to_string();
            assert!(error.contains(expected) && !error.contains("secret") && !error.contains("token-of"), "{error}");
        }
        assert_eq!(People::parse("ann labeler", false).unwrap().role("ann"), Some(Role::Labeler));
    }
}
