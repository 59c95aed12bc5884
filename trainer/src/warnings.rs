//! What a person should know before trusting a training or a measurement: each is a sentence.

use std::collections::HashMap;

use crate::dataset::Dataset;
use crate::metrics::Evaluation;
use crate::prepare::key;

/// Texts of a class below which nothing is learned of it.
const FEW: usize = 2;
/// Contradictions that are named.
const NAMED: usize = 3;

/// Of labeled texts that stand for themselves, such as the rows of a file.
pub fn of_texts<'a>(texts: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let mut by_key: HashMap<String, Labels<'a>> = HashMap::new();
    let mut count = 0;
    for (order, (text, label)) in texts.enumerate() {
        count += 1;
        let labels = by_key.entry(key(text)).or_insert_with(|| Labels { order, text, label, texts: 0, other: None });
        labels.texts += 1;
        if label != labels.label {
            labels.other.get_or_insert(label);
        }
    }
    let mut contradicting: Vec<_> = by_key.into_values().filter(|labels| labels.other.is_some()).collect();
    contradicting.sort_by_key(|labels| labels.order);
    let rows: usize = contradicting.iter().map(|labels| labels.texts).sum();
    let named = contradicting.iter().take(NAMED).map(|labels| {
        let start: String = labels.text.chars().take(20).collect();
        format!("{start:?} is {:?} and {:?}", labels.label, labels.other.unwrap_or_default())
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let more = if contradicting.len() > NAMED { ", ..." } else { "" };
    (rows > 0).then(|| {
        let share = 100.0 * rows as f64 / count as f64;
        format!("{rows} of {count} texts ({share:.1} %) contradict another one, the same text with another label: {named}{more}")
    })
}

/// The labels of one text.
struct Labels<'a> {
    order: usize,
    text: &'a str,
    label: &'a str,
    texts: usize,
    other: Option<&'a str>,
}

/// Of texts to learn from: classes of which there is nothing to learn, and contradictions.
pub fn of_dataset(dataset: &Dataset) -> Vec<String> {
    let count = |class: usize| dataset.train.iter().filter(|example| example.label == class).count();
    let few = dataset.classes.iter().enumerate().filter_map(|(class, name)| match count(class) {
        FEW.. => None,
        0 => Some(format!("class {name:?} has no training text: no model can learn it")),
        _ => Some(format!("class {name:?} has one training text: hardly anything can be learned of it")),
    });
    let examples = dataset.train.iter().chain(&dataset.valid);
    let texts = examples.map(|example| (example.text.as_str(), dataset.classes[example.label].as_str()));
    few.chain(of_texts(texts)).collect()
}

/// Of a model's answers: that all are alike, where the truth is not; classes that were measured on
/// one text.
pub fn of_evaluation(evaluation: &Evaluation) -> Vec<String> {
    let answered: Vec<usize> = (0..evaluation.per_class.len())
        .filter(|class| evaluation.confusion.iter().any(|row| row[*class] > 0))
        .collect();
    let mut warnings = Vec::new();
    let true_classes = evaluation.per_class.iter().filter(|class| class.support > 0);
    match (&answered[..], true_classes.clone().count()) {
        (_, 1) => warnings.push(format!(
            "all {} texts are {:?}: the figures say nothing of other classes",
            evaluation.examples,
            true_classes.clone().next().map_or("", |class| class.label.as_str())
        )),
        ([only], 2..) => warnings.push(format!(
            "the model has collapsed: it answers {:?} to all {} texts, and learned nothing",
            evaluation.per_class[*only].label, evaluation.examples
        )),
        _ => {}
    }
    let lone = true_classes.filter(|class| class.support == 1);
    warnings
        .extend(lone.map(|class| format!("class {:?} is measured on one text: its figures are chance", class.label)));
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Example;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_answer_to_all_texts_is_a_collapse_and_one_class_alone_is_none() {
        let labels = names(&["bad", "good"]);
        let collapsed = of_evaluation(&Evaluation::new(&labels, &[0, 0, 1, 1], &[1, 1, 1, 1]));
        assert_eq!(collapsed, ["the model has collapsed: it answers \"good\" to all 4 texts, and learned nothing"]);
        let all_alike = of_evaluation(&Evaluation::new(&labels, &[1, 1], &[1, 1]));
        assert!(all_alike[0].starts_with("all 2 texts are \"good\""), "{all_alike:?}");
        assert!(of_evaluation(&Evaluation::new(&labels, &[0, 0, 1, 1], &[1, 0, 1, 1])).is_empty());
        assert!(of_evaluation(&Evaluation::new(&labels, &[], &[])).is_empty());
        let lone = of_evaluation(&Evaluation::new(&labels, &[0, 1, 1], &[0, 1, 1]));
        assert_eq!(lone, ["class \"bad\" is measured on one text: its figures are chance"]);
    }

    #[test]
    fn a_class_with_one_text_and_texts_that_contradict_each_other_are_named() {
        let example = |text: &str, label: usize| Example { text: text.to_owned(), label };
        let dataset = Dataset {
            classes: names(&["bad", "good", "mixed", "none"]),
            train: vec![example("好吃", 1), example("难吃", 0), example("一般", 2), example("慢", 0), example("香", 1)],
            valid: vec![example("好吃！", 0)],
            lessons: None,
        };
        assert_eq!(
            of_dataset(&dataset),
            [
                "class \"mixed\" has one training text: hardly anything can be learned of it",
                "class \"none\" has no training text: no model can learn it",
                "2 of 6 texts (33.3 %) contradict another one, the same text with another label: \"好吃\" is \"good\" and \"bad\"",
            ]
        );
        assert_eq!(of_texts([("a", "1"), ("A!", "1"), ("b", "0")].into_iter()), None);
    }
}
