//! The texts that a candidate and the champion are judged on, and how each came to be labeled.

use std::collections::{HashMap, HashSet};

use store::{Pick, Version, Way};

use crate::dataset::Example;
use crate::gate::Origin;
use crate::prepare::key;
use crate::round_dataset::RoundDataset;

/// A text that a model has answered which was fitted as the candidate was, without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Its number among the training texts.
    pub index: usize,
    /// The class that the model gave it.
    pub class: usize,
}

/// Held-out texts below which others are asked for.
pub(super) const FEW: usize = 200;

/// The texts that judge.
pub(super) struct Judging {
    /// Held-out texts, then those of the cross-validation.
    pub examples: Vec<Example>,
    /// The candidate's answers to the latter.
    pub left_out: Vec<LeftOut>,
    /// Where each comes from.
    pub origins: Vec<Origin>,
}

impl Judging {
    /// The held-out texts; where they are fewer than [`FEW`], those too that were left out of a
    /// cross-validation, as far as the champion has not learned from them: it knows the labels up
    /// to `champion_knows`.
    pub fn of(dataset: &RoundDataset, picks: &Origins, left_out: &[LeftOut], champion_knows: i64) -> Self {
        let mut examples = dataset.held_out.clone();
        let is_new = |left: &&LeftOut| dataset.first_labels[left.index] > champion_knows;
        let left_out: Vec<LeftOut> =
            if examples.len() < FEW { left_out.iter().filter(is_new).copied().collect() } else { Vec::new() };
        examples.extend(left_out.iter().map(|left| dataset.dataset.train[left.index].clone()));
        let origins = examples.iter().map(|example| picks.of(&example.text)).collect();
        Self { examples, left_out, origins }
    }
}

/// How texts came to be labeled.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins {
    audited: HashMap<String, f64>,
    doubted: HashSet<String>,
}

impl Origins {
    /// From all picks with an answer. Only the champion's own doubt is unfair to it.
    pub fn new(picks: &[Pick], champion: Option<Version>) -> Self {
        let mut origins = Self::default();
        for pick in picks {
            match (pick.way, pick.probability) {
                (Way::Audit, Some(probability)) => {
                    let held = origins.audited.entry(key(&pick.text)).or_insert(0.0);
                    *held = held.max(probability);
                }
                (Way::Uncertain | Way::Disagreement, _) if pick.version.is_some() && pick.version == champion => {
                    origins.doubted.insert(key(&pick.text));
                }
                _ => {}
            }
        }
        origins
    }

    /// A text that was drawn at random stays one, whatever else it was picked for.
    fn of(&self, text: &str) -> Origin {
        let key = key(text);
        match self.audited.get(&key) {
            Some(probability) => Origin::Audit { probability: *probability },
            None if self.doubted.contains(&key) => Origin::Doubted,
            None => Origin::Chosen,
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::round_dataset::{Labeled, RoundClasses, Split, round_dataset};

    fn pick(text: &str, way: Way, version: i64) -> Pick {
        Pick {
            review_id: None,
            text: text.to_owned(),
            way,
            probability: (way == Way::Audit).then_some(0.25),
            version: Some(Version(version)),
            prediction: None,
            score: None,
            classified_at: None,
        }
    }

    #[test]
    fn what_the_champion_doubted_does_not_judge_it_unless_it_was_drawn_too() {
        let picks = [
            pick("很好！", Way::Uncertain, 3),
            pick("一般", Way::Disagreement, 3),
            pick("慢", Way::Uncertain, 2),
            pick("旧", Way::Diverse, 3),
            pick("贵", Way::Uncertain, 3),
            pick("贵", Way::Audit, 3),
        ];
        let origins = Origins::new(&picks, Some(Version(3)));
        let of = ["很好", "一般", "慢", "旧", "贵", "新"].map(|text| origins.of(text));
        let (doubted, chosen) = (Origin::Doubted, Origin::Chosen);
        assert_eq!(of, [doubted, doubted, chosen, chosen, Origin::Audit { probability: 0.25 }, chosen]);
        assert_eq!(Origins::new(&picks, None).of("很好"), Origin::Chosen);
    }

    #[test]
    fn where_held_out_texts_are_few_those_judge_that_the_champion_has_not_seen() {
        let label = |id: i64| Labeled {
            id,
            review_id: None,
            text: format!("{}第{id}条", ["好", "差"][id as usize % 2].repeat(id as usize % 7 + 1)),
            label: ["good", "bad"][id as usize % 2].to_owned(),
            labeled_at: Utc::now(),
        };
        let labels: Vec<Labeled> = (1..=60).map(label).collect();
        let dataset =
            round_dataset(&labels, RoundClasses::default(), &Split { min_per_class: 10, ..Split::default() }).unwrap();
        let left_out: Vec<LeftOut> =
            (0..dataset.dataset.train.len()).map(|index| LeftOut { index, class: 0 }).collect();
        let judging =
            |champion_knows| Judging::of(&dataset, &Origins::default(), &left_out, champion_knows).examples.len();
        assert_eq!(judging(0), dataset.held_out.len() + dataset.dataset.train.len());
        let new = dataset.first_labels.iter().filter(|first| **first > 40).count();
        assert!(new > 0);
        assert_eq!(judging(40), dataset.held_out.len() + new);
        assert_eq!(judging(i64::MAX), dataset.held_out.len());
    }
}
