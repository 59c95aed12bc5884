//! Rust sources, read as far as it takes to find their string literals.

use std::fs;
use std::path::Path;

/// A file without its comments.
pub struct Source {
    /// Each string literal is replaced by its number, in quotes.
    pub code: String,
    /// As they are at run time.
    pub literals: Vec<String>,
}

impl Source {
    pub fn read(file: &Path) -> Self {
        Self::parse(&fs::read_to_string(file).unwrap())
    }

    /// Knows comments of a line, plain literals and character literals: raw literals are not used for statements.
    fn parse(source: &str) -> Self {
        let mut parsed = Self { code: String::new(), literals: Vec::new() };
        let mut rest = source;
        while let Some(next) = rest.chars().next() {
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if next == '"' {
                let (literal, length) = literal(&rest[1..]);
                parsed.code.push_str(&format!("\"{}\"", parsed.literals.len()));
                parsed.literals.push(literal);
                1 + length
            } else if rest.starts_with("'\"'") {
                3
            } else {
                parsed.code.push(next);
                next.len_utf8()
            };
            rest = &rest[length..];
        }
        parsed
    }

    /// The first argument of each call of a function.
    pub fn arguments(&self, function: &str) -> impl Iterator<Item = &str> {
        let is_name = |character: char| character.is_alphanumeric() || character == '_';
        self.code.match_indices(function).filter_map(move |(index, name)| {
            let after = &self.code[index + name.len()..];
            let called = after.starts_with('(') || after.starts_with("::<");
            let defined = self.code[..index].ends_with("fn ");
            if !called || defined || self.code[..index].ends_with(is_name) {
                return None;
            }
            let argument = after.split_once('(')?.1.trim_start();
            Some(argument[..argument.find([',', ')', '\n'])?].trim_end())
        })
    }

    /// The literal that an argument is, or that a variable of its name holds.
    pub fn text(&self, argument: &str) -> Option<&str> {
        let variable = format!("let {argument} = ");
        let values = self.code.split(&variable).skip(1);
        values.chain([argument]).find_map(|value| {
            let number = value.strip_prefix('"')?.split_once('"')?.0;
            Some(self.literals[number.parse::<usize>().ok()?].as_str())
        })
    }
}

/// What a literal says, and its length with the quote at its end.
fn literal(source: &str) -> (String, usize) {
    let mut text = String::new();
    let mut characters = source.char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return (text, index + 1),
            '\\' => match characters.next() {
                Some((_, '\n')) => while characters.next_if(|(_, next)| next.is_whitespace()).is_some() {},
                Some((_, 'n')) => text.push('\n'),
                Some((_, escaped)) => text.push(escaped),
                None => break,
            },
            _ => text.push(character),
        }
    }
    panic!("a literal without an end: {text}");
}

#[test]
fn a_statement_is_found_as_an_argument_or_by_the_name_of_a_variable() {
    let source = Source::parse(
        "query_as(\n    \"select \\\"a\\\"\" // not \"this\"\n); let b = \"select \\\n  b\"; sqlx::query_as::<_, T>(b); query_as(c)",
    );
    let arguments: Vec<_> = source.arguments("query_as").collect();
    assert_eq!(arguments, ["\"0\"", "b", "c"]);
    let texts: Vec<_> = arguments.into_iter().map(|argument| source.text(argument)).collect();
    assert_eq!(texts, [Some("select \"a\""), Some("select b"), None]);
}
