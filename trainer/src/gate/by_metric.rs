//! Two models by any figure that their answers have, such as macro-F1 or the recall of one class.

use serde::Serialize;

use crate::metrics::{BestBy, Evaluation};
use crate::random::{Purpose, Random};

/// The candidate and the champion by a figure of the gate's own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ByMetric {
    /// Its name.
    pub metric: BestBy,
    /// The candidate's value.
    pub candidate: f64,
    /// The champion's value.
    pub champion: f64,
    /// Probability of a lead like this or a greater one, were both equally good.
    pub p_better: f64,
}

/// Exchanges that are tried.
const EXCHANGES: usize = 2_000;

/// What two models have answered, by texts that judge; answers beyond the classes may occur.
pub(super) struct Answered<'a> {
    pub names: &'a [String],
    pub truth: &'a [usize],
    pub candidate: &'a [usize],
    pub champion: &'a [usize],
}

impl ByMetric {
    /// By approximate randomisation (Noreen, "Computer-Intensive Methods for Testing Hypotheses",
    /// 1989): were the models equally good, exchanging their answers text by text would change
    /// nothing. `None` where these answers have no such figure.
    pub(super) fn of(metric: &BestBy, answered: &Answered<'_>) -> Option<Self> {
        let value = |answers: &[usize]| metric.value(&Evaluation::new(answered.names, answered.truth, answers));
        let (candidate, champion) = (value(answered.candidate)?, value(answered.champion)?);
        let lead = candidate - champion;
        let differ: Vec<usize> =
            (0..answered.truth.len()).filter(|text| answered.candidate[*text] != answered.champion[*text]).collect();
        let mut random = Random::of(0, Purpose::Order, 0);
        let (mut one, mut other) = (answered.candidate.to_vec(), answered.champion.to_vec());
        let mut as_great = 0;
        for _ in 0..EXCHANGES {
            for text in &differ {
                if random.chance(0.5) {
                    std::mem::swap(&mut one[*text], &mut other[*text]);
                }
            }
            // A hair less, since sums of the same numbers differ by their order.
            as_great += usize::from(value(&one)? - value(&other)? >= lead - 1e-12);
        }
        let p_better = (1 + as_great) as f64 / (1 + EXCHANGES) as f64;
        Some(Self { metric: metric.clone(), candidate, champion, p_better })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Paired;

    fn compared(metric: &str, candidate: &[usize], champion: &[usize]) -> ByMetric {
        let truth: Vec<usize> = (0..candidate.len()).map(|text| usize::from(text % 5 == 0)).collect();
        let names = ["good", "bad"].map(str::to_owned);
        let answered = Answered { names: &names, truth: &truth, candidate, champion };
        ByMetric::of(&metric.parse().unwrap(), &answered).unwrap()
    }

    #[test]
    fn by_accuracy_it_says_what_mcnemars_exact_test_says() {
        let truth: Vec<usize> = (0..200).map(|text| usize::from(text % 5 == 0)).collect();
        let wrong = |texts: std::ops::Range<usize>| -> Vec<usize> {
            (0..200).map(|text| if texts.contains(&text) { 1 - truth[text] } else { truth[text] }).collect()
        };
        let by_accuracy = compared("accuracy", &wrong(0..4), &wrong(10..22));
        let exact = Paired::new(&right(&wrong(0..4), &truth), &right(&wrong(10..22), &truth), None).p_better;
        assert!((by_accuracy.p_better - exact).abs() < 0.015, "{} for {exact}", by_accuracy.p_better);
    }

    fn right(answers: &[usize], truth: &[usize]) -> Vec<bool> {
        answers.iter().zip(truth).map(|(answer, truth)| answer == truth).collect()
    }

    #[test]
    fn a_model_that_finds_the_rare_class_leads_by_recall_where_it_does_not_by_accuracy() {
        let never = vec![0; 200];
        // Finds 30 of the 40 bad ones, and takes 30 good ones for bad.
        let finds: Vec<usize> = (0..200).map(|text| usize::from(text % 5 < 2 && text < 150)).collect();
        let recall = compared("recall:bad", &finds, &never);
        assert!((recall.candidate - 0.75).abs() < 1e-9 && recall.p_better < 0.001, "{recall:?}");
        assert!(compared("accuracy", &finds, &never).p_better > 0.4);
    }
}
