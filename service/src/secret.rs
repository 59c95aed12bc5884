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
    let words = text.split_inclusive(ends).map(without_user);
    NAMES.iter().fold(words.collect(), |text: String, name| without_values(&text, name))
}

/// What a secret is the value of, in the forms of Kafka, of URLs and of libpq.
const NAMES: [&str; 4] = ["password", "secret", "token", "key.pem"];

fn without_user(word: &str) -> String {
    let mut shown = word.to_owned();
    if let Some(begin) = shown.find("://").map(|at| at + 3)
        && let Some(length) = shown[begin..].rfind('@')
    {
        shown.replace_range(begin..begin + length, "...");
    }
    shown
}

/// Leaves out every value that is assigned to a name with this end.
fn without_values(text: &str, name: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.to_ascii_lowercase().find(name) {
        let (before, after) = rest.split_at(at + name.len());
        shown.push_str(before);
        rest = after;
        if let Some(value) = after.trim_start().strip_prefix('=').map(str::trim_start) {
            shown.push_str("=...");
            rest = &value[length_of_value(value)..];
        }
    }
    shown + rest
}

/// Up to the quote that closes it, where it begins with one; else up to what cannot stand in it.
fn length_of_value(value: &str) -> usize {
    let quote = value.chars().next().filter(|first| matches!(first, '\'' | '"'));
    let ends = |character: char| matches!(character, '&' | ';' | ',' | '\'' | '"' | '`') || character.is_whitespace();
    let mut is_escaped = false;
    let end = value.char_indices().skip(usize::from(quote.is_some())).find(|&(_, character)| {
        let was_escaped = is_escaped;
        is_escaped = character == '\\' && !was_escaped;
        !was_escaped && quote.map_or_else(|| ends(character), |quote| character == quote)
    });
    end.map_or(value.len(), |(at, _)| at + usize::from(quote.is_some()))
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
            ("status \"host=h password='hunter2' user=me\"", "status \"host=h password=... user=me\""),
            (r"password = 'hun\'ter2' host=h", "password=... host=h"),
            ("postgres:///db?password=a&sslpassword=hunter2", "postgres:///db?password=...&sslpassword=..."),
            ("İ PASSWORD=hunter2", "İ PASSWORD=..."),
            ("the password is wrong", "the password is wrong"),
        ] {
            assert_eq!(without_credentials(said), shown);
        }
    }
}
