//! What a version is worth on the stream, estimated from reviews that were drawn from it at random.
//!
//! Reviews that were picked because a model was not sure of them say little of the rest, so only
//! the audit's picks count here. A draw of 4 from 1,000 predictions stands for 250 each, one of 4
//! from 100,000 for 25,000 each: each answer is weighted by one over its probability (Hájek's
//! estimator). The interval is Wilson's, over as many texts as equal weights would need for the
//! same variance (Kish's effective sample size).

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;
use store::{Audited, Version};

/// The share of right answers, with the interval that holds the truth in 95 of 100 cases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The weighted share.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Answers that it rests on.
    pub texts: usize,
    /// As many texts of equal weight would tell as much.
    pub effective: f64,
}

/// An answer of a person to a review that was drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answered {
    /// How probable it was to be drawn, above 0 and at most 1.
    pub probability: f64,
    /// Whether the model was right.
    pub is_right: bool,
}

/// The normal distribution's quantile for two tails of 2.5% each.
const Z: f64 = 1.959_963_985;

impl Estimate {
    /// From what was drawn; `None` where that is nothing.
    pub fn of(answers: impl IntoIterator<Item = Answered>) -> Option<Self> {
        let (mut texts, mut sum, mut right, mut squares) = (0, 0.0, 0.0, 0.0);
        for Answered { probability, is_right } in answers {
            let weight = 1.0 / probability;
            texts += 1;
            sum += weight;
            squares += weight * weight;
            if is_right {
                right += weight;
            }
        }
        if texts == 0 {
            return None;
        }
        let (value, effective) = (right / sum, sum * sum / squares);
        let spread = Z * Z / effective;
        let middle = (value + spread / 2.0) / (1.0 + spread);
        let reach = (value * (1.0 - value) * spread + spread * spread / 4.0).sqrt() / (1.0 + spread);
        Some(Self { value, low: (middle - reach).max(0.0), high: (middle + reach).min(1.0), texts, effective })
    }
}

/// What is known of one version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Accuracy {
    /// The version.
    pub version: Version,
    /// Reviews that were drawn.
    pub drawn: usize,
    /// Share of the predictions that are right; `None` while no draw is answered.
    pub accuracy: Option<Estimate>,
    /// Of the predictions of a class, the share that is right: its precision.
    pub by_prediction: BTreeMap<String, Estimate>,
    /// Of the reviews that a person gives a class, the share that the version gives it too: its
    /// recall.
    pub by_label: BTreeMap<String, Estimate>,
    /// By the day (UTC) of the prediction.
    pub by_day: BTreeMap<NaiveDate, Estimate>,
}

/// What the audit's picks say of each version, the newest version first.
pub fn accuracies(audited: &[Audited]) -> Vec<Accuracy> {
    let mut versions: BTreeMap<i64, Vec<&Audited>> = BTreeMap::new();
    for pick in audited {
        versions.entry(pick.version.0).or_default().push(pick);
    }
    versions.into_values().rev().map(|picks| accuracy(&picks)).collect()
}

fn accuracy(picks: &[&Audited]) -> Accuracy {
    Accuracy {
        version: picks[0].version,
        drawn: picks.len(),
        accuracy: Estimate::of(picks.iter().filter_map(|pick| answered(pick))),
        by_prediction: by(picks, |pick| Some(pick.prediction.clone())),
        by_label: by(picks, |pick| pick.label.clone()),
        by_day: by(picks, |pick| Some(pick.classified_at.date_naive())),
    }
}

fn answered(pick: &Audited) -> Option<Answered> {
    let label = pick.label.as_ref()?;
    Some(Answered { probability: pick.probability, is_right: *label == pick.prediction })
}

fn by<K: Ord>(picks: &[&Audited], key: impl Fn(&Audited) -> Option<K>) -> BTreeMap<K, Estimate> {
    let mut groups: BTreeMap<K, Vec<Answered>> = BTreeMap::new();
    for pick in picks {
        if let (Some(key), Some(answered)) = (key(pick), answered(pick)) {
            groups.entry(key).or_default().push(answered);
        }
    }
    groups.into_iter().filter_map(|(key, answers)| Some((key, Estimate::of(answers)?))).collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::random::{Purpose, Random};

    fn answers(right: usize, of: usize, probability: f64) -> impl Iterator<Item = Answered> {
        (0..of).map(move |index| Answered { probability, is_right: index < right })
    }

    /// ```python
    /// from statsmodels.stats.proportion import proportion_confint
    /// proportion_confint(45, 50, method="wilson")
    /// ```
    #[test]
    fn with_equal_weights_the_interval_is_wilson_s() {
        let estimate = Estimate::of(answers(45, 50, 0.01)).unwrap();
        assert!((estimate.value - 0.9).abs() < 1e-12 && (estimate.effective - 50.0).abs() < 1e-9);
        assert!((estimate.low - 0.786397).abs() < 1e-5 && (estimate.high - 0.956521).abs() < 1e-5, "{estimate:?}");
        assert_eq!(Estimate::of([]), None);
    }

    #[test]
    fn a_draw_stands_for_as_many_as_it_was_drawn_from() {
        // 10 of 100 predictions, all right; 10 of 900, none of them.
        let estimate = Estimate::of(answers(10, 10, 0.1).chain(answers(0, 10, 10.0 / 900.0))).unwrap();
        assert!((estimate.value - 0.1).abs() < 1e-12, "{estimate:?}");
        assert!(estimate.effective < 13.0 && estimate.high > 0.3, "{estimate:?}");
    }

    #[test]
    fn versions_classes_and_days_are_told_apart() {
        let pick = |version, prediction: &str, label: Option<&str>, day| Audited {
            version: Version(version),
            prediction: prediction.to_owned(),
            score: 0.9,
            classified_at: format!("2026-11-{day}T10:00:00Z").parse::<DateTime<Utc>>().unwrap(),
            probability: 0.5,
            label: label.map(str::to_owned),
        };
        let accuracies = accuracies(&[
            pick(1, "a", Some("a"), 20),
            pick(2, "a", Some("b"), 21),
            pick(2, "b", Some("b"), 22),
            pick(2, "b", None, 22),
        ]);
        let [newest, oldest] = &accuracies[..] else { panic!("{accuracies:?}") };
        assert_eq!((newest.version, newest.drawn, newest.accuracy.unwrap().texts), (Version(2), 3, 2));
        assert_eq!((newest.by_prediction["a"].value, newest.by_prediction["b"].value), (0.0, 1.0));
        assert_eq!((newest.by_label.len(), newest.by_label["b"].value), (1, 0.5));
        assert_eq!((newest.by_day.len(), oldest.by_day.len()), (2, 1));
    }

    /// A stream of which the truth is known: a model that is sure of what is easy. Twenty times
    /// people label fifty of it: ten drawn at random from what has come so far, and the forty least
    /// certain that nobody has labeled.
    fn simulate(seed: u64) -> (f64, Estimate, Estimate) {
        let mut random = Random::of(seed, Purpose::Order, 0);
        let mut uniform = || random.uniform();
        let stream: Vec<(f64, bool)> = (0..20_000)
            .map(|_| {
                let certainty = 0.5 + 0.5 * uniform().powf(0.3);
                (certainty, uniform() < certainty)
            })
            .collect();
        let truth = stream.iter().filter(|(_, is_right)| *is_right).count() as f64 / stream.len() as f64;
        let (mut audits, mut doubts) = (Vec::new(), Vec::new());
        let mut is_labeled = vec![false; stream.len()];
        for part in 1..=20 {
            let seen = stream.len() * part / 20;
            for _ in 0..10 {
                let drawn = (uniform() * seen as f64) as usize;
                is_labeled[drawn] = true;
                audits.push(Answered { probability: 10.0 / seen as f64, is_right: stream[drawn].1 });
            }
            let mut waiting: Vec<usize> = (0..seen).filter(|index| !is_labeled[*index]).collect();
            waiting.sort_by(|one, other| stream[*one].0.total_cmp(&stream[*other].0));
            for index in waiting.into_iter().take(40) {
                is_labeled[index] = true;
                doubts.push(Answered { probability: 1.0, is_right: stream[index].1 });
            }
        }
        let all = audits.iter().map(|answer| Answered { probability: 1.0, ..*answer }).chain(doubts);
        (truth, Estimate::of(all).unwrap(), Estimate::of(audits).unwrap())
    }

    #[test]
    fn the_interval_holds_the_truth_and_the_figure_of_all_labels_does_not() {
        let runs: Vec<_> = (0..400).map(simulate).collect();
        let holds = |estimate: &Estimate, truth: f64| (estimate.low..=estimate.high).contains(&truth);
        let weighted = runs.iter().filter(|(truth, _, audit)| holds(audit, *truth)).count();
        let unweighted = runs.iter().filter(|(truth, all, _)| holds(all, *truth)).count();
        println!("of 400 intervals {weighted} hold the truth, without weights {unweighted}");
        assert!((360..=392).contains(&weighted), "{weighted} of 400");
        assert!(unweighted < 20, "{unweighted} of 400");
    }
}
