//! A text that no log and no error may show.

/// A password, or what holds one, such as a URL. Its `Debug` shows nothing of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for whom it is meant.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("...")
    }
}

/// The same text with nothing of the credentials in it: neither what stands before the `@` of a
/// URL, nor what follows `password=` and the like. For texts that others wrote, as the last net.
pub(crate) fn without_credentials(text: &str) -> String {
    let ends = |character: char| character.is_whitespace() || matches!(character, '\'' | '"' | '`');
    text.split_inclusive(ends).map(word_without_credentials).collect()
}

fn word_without_credentials(word: &str) -> String {
    let mut shown = word.to_owned();
    if let Some(begin) = shown.find("://").map(|at| at + 3)
        && let Some(length) = shown[begin..].rfind('@')
    {
        shown.replace_range(begin..begin + length, "...");
    }
    for name in ["password=", "secret=", "token=", "key.pem="] {
        let Some(begin) = shown.to_lowercase().find(name).map(|at| at + name.len()) else { continue };
        let ends =
            |character: char| matches!(character, '&' | ';' | ',' | '\'' | '"' | '`') || character.is_whitespace();
        let length = shown[begin..].find(ends).unwrap_or(shown.len() - begin);
        shown.replace_range(begin..begin + length, "...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_a_text_and_nothing_else_is() {
        for (said, shown) in [
            ("cannot open 'postgres://me:hunter2@host/db' now", "cannot open 'postgres://...@host/db' now"),
            ("postgres://me:hu@nter2@host/db", "postgres://...@host/db"),
            ("s3://bucket/a and http://host:1/x", "s3://bucket/a and http://host:1/x"),
            ("-Xsasl.password=hunter2;client.id=a", "-Xsasl.password=...;client.id=a"),
            ("postgres:///db?password=hunter2&user=me", "postgres:///db?password=...&user=me"),
            ("write to me@host", "write to me@host"),
        ] {
            assert_eq!(without_credentials(said), shown);
        }
    }
}
