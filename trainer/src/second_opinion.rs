//! What a linear model of all labels says of other texts: where the champion says something else,
//! one of them is wrong.

use std::collections::BTreeMap;

use anyhow::Result;
use classifier::Prediction;

use crate::dataset::{Dataset, Example, sort_labels};
use crate::linear::{self, LinearSettings};
use crate::prepare::key;

/// Labels below which a model's opinion is none.
const FEW: usize = 20;

/// The label and its probability for each text; `None` where there are too few labels to learn
/// from. `labels` are texts with their labels; of a text the last one counts.
///
/// # Errors
/// What is wrong with the texts.
pub fn second_opinion(labels: &[(&str, &str)], texts: &[&str]) -> Result<Option<Vec<(String, f32)>>> {
    let newest: BTreeMap<String, (&str, &str)> =
        labels.iter().map(|(text, label)| (key(text), (*text, *label))).collect();
    let classes = sort_labels(newest.values().map(|(_, label)| *label));
    if newest.len() < FEW || classes.len() < 2 || texts.is_empty() {
        return Ok(None);
    }
    let example = |(text, label): &(&str, &str)| {
        let class = classes.iter().position(|class| class == label)?;
        Some(Example { text: (*text).to_owned(), label: class })
    };
    let train: Vec<Example> = newest.values().filter_map(example).collect();
    let dataset = Dataset { classes: classes.clone(), train, valid: Vec::new(), lessons: None };
    let model = linear::learn(&LinearSettings::default(), &dataset)?.classifier();
    let named = |prediction: Prediction| {
        let (class, score) = prediction.best();
        (classes[class].clone(), score)
    };
    Ok(Some(model.classify(texts)?.into_iter().map(named).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_learns_the_newest_label_of_each_text_and_of_few_it_says_nothing() {
        let texts: Vec<String> = (0..30).map(|index| format!("{}第{index}次", ["好吃", "难吃"][index % 2])).collect();
        let wrong = texts.iter().enumerate().map(|(index, text)| (text.as_str(), ["bad", "good"][index % 2]));
        let right = texts.iter().enumerate().map(|(index, text)| (text.as_str(), ["good", "bad"][index % 2]));
        let labels: Vec<_> = wrong.chain(right).collect();
        let said = second_opinion(&labels, &["真好吃", "真难吃"]).unwrap().unwrap();
        assert_eq!((said[0].0.as_str(), said[1].0.as_str()), ("good", "bad"));
        assert!(said[0].1 > 0.5);
        assert!(second_opinion(&labels[..10], &["真好吃"]).unwrap().is_none());
    }
}
