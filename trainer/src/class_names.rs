//! Names of classes, as a person writes them in a flag and in files.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use unicode_normalization::UnicodeNormalization;

/// The classes that one flag names.
pub type ClassNames = Vec<String>;

/// The classes that a flag names, separated by commas; a name that holds one stands in quotes.
///
/// # Errors
/// Quotes that are not closed, and a class without a name.
pub fn class_names(flag: &str) -> Result<ClassNames> {
    let names = rows::fields(flag, "names of classes")?;
    let names: ClassNames = names.iter().map(|name| name.trim().to_owned()).collect();
    ensure!(!names.is_empty() && names.iter().all(|name| !name.is_empty()), "a class without a name");
    Ok(names)
}

/// Refuses labels that differ in their writing alone, such as 1, 1.0 and 01, or `Good` and `good `:
/// they are one class to a person, and several to a model. `named` are meant as they are.
///
/// # Errors
/// Two such labels, each with the line on which it first stands.
pub fn refuse_alike_labels<'a>(labels: impl Iterator<Item = (u64, &'a str)>, named: &[String]) -> Result<()> {
    let mut first: HashMap<String, (u64, &str)> = HashMap::new();
    let mut seen: HashMap<&str, ()> = HashMap::new();
    for (line, label) in labels {
        let label = label.trim();
        if label.is_empty() || seen.insert(label, ()).is_some() || named.iter().any(|name| name == label) {
            continue;
        }
        let (earlier, other) = *first.entry(written_alike(label)).or_insert((line, label));
        ensure!(
            other == label,
            "the labels {other:?} on line {earlier} and {label:?} on line {line} differ in their writing alone: are they one class? (--classes names both where they are two)"
        );
    }
    Ok(())
}

/// What labels have in common that a person takes for one: width, case, white space, and the value
/// of a number.
pub(crate) fn written_alike(label: &str) -> String {
    let folded: String = label.nfkc().flat_map(char::to_lowercase).collect();
    let words = folded.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.parse::<f64>() {
        // -0 is 0.
        Ok(number) if number.is_finite() => (number + 0.0).to_string(),
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_comma_stands_in_quotes() {
        assert_eq!(class_names("差评,好评").unwrap(), ["差评", "好评"]);
        assert_eq!(class_names("\"好吃,不贵\", 差").unwrap(), ["好吃,不贵", "差"]);
        assert_eq!(class_names("\"a \"\"b\"\"\"").unwrap(), ["a \"b\""]);
        for broken in ["", "a,", "a,,b", "\"a", "a\nb"] {
            assert!(class_names(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn labels_that_differ_in_their_writing_alone_are_refused_unless_they_are_named() {
        let check = |labels: &[&'static str], named: &[&str]| {
            let named: Vec<String> = named.iter().map(ToString::to_string).collect();
            refuse_alike_labels((2..).zip(labels.iter().copied()), &named).map_err(|error| error.to_string())
        };
        for alike in
            [["1", "1.0"], ["1", "01"], ["1", "１"], ["Good", "good"], ["very good", "very  good"], ["0", "-0.0"]]
        {
            let refused = check(&["x", alike[0], alike[0], alike[1]], &[]).unwrap_err();
            assert!(refused.contains(&format!("{:?} on line 3 and {:?} on line 5", alike[0], alike[1])), "{refused}");
            assert_eq!(check(&alike, &alike), Ok(()));
        }
        assert_eq!(check(&["1", "10", "好", "坏", " 1 ", "", "nan", "inf"], &[]), Ok(()));
    }
}
