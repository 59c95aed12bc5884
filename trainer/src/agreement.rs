//! How often people agree where two of them have labeled one text.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::prepare::key;

/// What one person said of a text.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// Who.
    pub labeled_by: &'a str,
    /// The text.
    pub text: &'a str,
    /// The label.
    pub label: &'a str,
}

/// Two people on the texts that both have labeled.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// The two, in the order of their names.
    pub between: (String, String),
    /// Texts that both have labeled.
    pub texts: usize,
    /// Share on which they say the same.
    pub agree: f64,
    /// Cohen's kappa: 1 where they always agree, 0 where they agree as often as by chance. `None`
    /// where both say one class only.
    pub kappa: Option<f64>,
}

/// Every pair of people with a text in common, the most texts first. Of what one person has said of
/// a text, the last counts.
pub fn agreements<'a>(said: impl IntoIterator<Item = Said<'a>>) -> Vec<Agreement> {
    let mut texts: BTreeMap<String, BTreeMap<&str, &str>> = BTreeMap::new();
    for Said { labeled_by, text, label } in said {
        texts.entry(key(text)).or_default().insert(labeled_by, label);
    }
    let mut pairs: BTreeMap<(&str, &str), Vec<(&str, &str)>> = BTreeMap::new();
    for labels in texts.values() {
        let labels: Vec<(&str, &str)> = labels.iter().map(|(who, label)| (*who, *label)).collect();
        for (index, one) in labels.iter().enumerate() {
            for other in &labels[index + 1..] {
                pairs.entry((one.0, other.0)).or_default().push((one.1, other.1));
            }
        }
    }
    let mut agreements: Vec<Agreement> =
        pairs.into_iter().map(|(between, labels)| agreement(between, &labels)).collect();
    agreements.sort_by_key(|agreement| std::cmp::Reverse(agreement.texts));
    agreements
}

fn agreement((one, other): (&str, &str), labels: &[(&str, &str)]) -> Agreement {
    let texts = labels.len() as f64;
    let agree = labels.iter().filter(|(one, other)| one == other).count() as f64 / texts;
    let classes: BTreeSet<&str> = labels.iter().flat_map(|(one, other)| [*one, *other]).collect();
    let by_chance: f64 = classes
        .iter()
        .map(|class| {
            let first = labels.iter().filter(|(label, _)| label == class).count() as f64;
            let second = labels.iter().filter(|(_, label)| label == class).count() as f64;
            first * second / (texts * texts)
        })
        .sum();
    let kappa = (by_chance < 1.0).then(|| (agree - by_chance) / (1.0 - by_chance));
    Agreement { between: (one.to_owned(), other.to_owned()), texts: labels.len(), agree, kappa }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<'a>(labeled_by: &'a str, text: &'a str, label: &'a str) -> Said<'a> {
        Said { labeled_by, text, label }
    }

    /// ```python
    /// from sklearn.metrics import cohen_kappa_score
    /// cohen_kappa_score(["a", "a", "b", "b"], ["a", "b", "b", "b"])  # 0.5
    /// ```
    #[test]
    fn kappa_is_that_of_scikit_learn_and_the_last_word_counts() {
        let ada = [("1", "b"), ("1", "a"), ("2", "a"), ("3", "b"), ("4", "b"), ("5", "a")];
        let bo = [("1！", "a"), ("2", "b"), ("3", "b"), ("4", "b")];
        let all = ada.iter().map(|(text, label)| said("ada", text, label));
        let agreements = agreements(all.chain(bo.iter().map(|(text, label)| said("bo", text, label))));
        let [only] = &agreements[..] else { panic!("{agreements:?}") };
        assert_eq!((only.between.0.as_str(), only.between.1.as_str(), only.texts), ("ada", "bo", 4));
        assert_eq!((only.agree, only.kappa), (0.75, Some(0.5)));
    }

    #[test]
    fn one_class_alone_says_nothing_of_chance() {
        let agreements = agreements([said("ada", "1", "a"), said("bo", "1", "a"), said("eve", "2", "a")]);
        assert_eq!((agreements.len(), agreements[0].agree, agreements[0].kappa), (1, 1.0, None));
    }
}
