//! Columns by name.

use anyhow::anyhow;

/// A column by the names that it usually has, or by the one that a person gave. Case and white
/// space around a name do not count.
#[derive(Debug, Clone)]
pub struct Column {
    names: Vec<String>,
    /// The flag that names another.
    flag: Option<&'static str>,
}

impl Column {
    /// The column of the texts: `text` or `review`, or as `told`.
    pub fn text(told: Option<&str>) -> Self {
        Self::usual(told, &["text", "review"], "--text-column")
    }

    /// The column of the labels: `label`, or as `told`.
    pub fn label(told: Option<&str>) -> Self {
        Self::usual(told, &["label"], "--label-column")
    }

    /// A column that has one name.
    pub fn named(name: &str) -> Self {
        Self { names: vec![name.trim().to_owned()], flag: None }
    }

    fn usual(told: Option<&str>, usual: &[&str], flag: &'static str) -> Self {
        let names = told.map_or_else(|| usual.to_vec(), |name| vec![name]);
        Self { names: names.iter().map(|name| name.trim().to_owned()).collect(), flag: Some(flag) }
    }

    /// Which of these names it is: the first of its own that is among them.
    pub(crate) fn find<'a, Names: Iterator<Item = &'a str>>(&self, names: impl Fn() -> Names) -> Option<&'a str> {
        let is = |name: &String, other: &str| other.trim().eq_ignore_ascii_case(name);
        self.names.iter().find_map(|name| names().find(|other| is(name, other)))
    }

    /// What is wrong where it is not among these.
    pub(crate) fn missing<'a>(&self, names: impl Iterator<Item = &'a str>) -> anyhow::Error {
        let mut names: Vec<&str> = names.collect();
        let separated = match names[..] {
            [name] if name.contains([';', '\t', '，', '|']) => "; are the columns separated by commas?",
            _ => "",
        };
        let is_data =
            |name: &&str| name.parse::<f64>().is_ok() || name.chars().count() > 40 || name.contains(['，', '。', '！']);
        let headless = if names.iter().any(is_data) { "; is the first row data? it must name the columns" } else { "" };
        let more = if names.len() > 10 { ", ..." } else { "" };
        names.truncate(10);
        let flag = self.flag.map_or_else(String::new, |flag| format!("; {flag} names another"));
        anyhow!(
            "no column {}; there are: {}{more}{flag}{separated}{headless}",
            self.names.join(" or "),
            names.join(", ")
        )
    }
}
