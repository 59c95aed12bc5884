//! From rows of texts to a plane for each class, and to a model.

use anyhow::Result;
use classifier::Classes;
use classifier::linear::{LinearModel, LinearWeights};

use super::RANGE;
use super::solver::{self, Lesson, Plane, Rows};
use super::vocabulary::Vocabulary;

/// That the text of a row is of a class, and what an error on it costs.
#[derive(Clone, Copy)]
pub(super) struct Said {
    pub row: usize,
    pub class: usize,
    pub cost: f64,
}

/// Each class against the rest.
pub(super) fn planes(rows: &Rows, said: &[Said], classes: usize) -> Vec<Plane> {
    let one_against_rest = |class: usize| {
        let sign = |said: &Said| if said.class == class { 1.0 } else { -1.0 };
        let lesson = |said: &Said| Lesson { row: said.row, sign: sign(said), cost: said.cost };
        solver::separate(rows, &said.iter().map(lesson).collect::<Vec<_>>())
    };
    if classes == 2 {
        // One against the other is the same twice: half of it each way.
        let second = one_against_rest(1);
        vec![second.scaled(-0.5), second.scaled(0.5)]
    } else {
        (0..classes).map(one_against_rest).collect()
    }
}

/// What an error on each text costs: more in rare classes, the less so the more texts there are.
pub(super) fn costs(truth: &[usize], classes: usize, cost: f64) -> Vec<f64> {
    let mut counts = vec![0.0; classes];
    truth.iter().for_each(|class| counts[*class] += 1.0);
    let total = truth.len() as f64;
    let evenness = 1.0 / (1.0 + total / EVEN_AT);
    truth.iter().map(|class| cost * (total / (classes as f64 * counts[*class])).powf(evenness)).collect()
}

/// Texts at which half of the classes' imbalance is evened out. With few, a class that is rare would
/// hardly ever be answered; with many, that it is rare is evidence.
const EVEN_AT: f64 = 10_000.0;

/// The model that the planes are.
pub(super) fn model(classes: &Classes, vocabulary: Vocabulary, planes: &[Plane]) -> Result<LinearModel> {
    let features = vocabulary.features.len();
    let weight = (0..features).flat_map(|feature| planes.iter().map(move |plane| plane.weights[feature] as f32));
    let weights = LinearWeights {
        weight: weight.collect(),
        features: vocabulary.features,
        idf: vocabulary.idf,
        bias: planes.iter().map(|plane| plane.bias as f32).collect(),
    };
    Ok(LinearModel::new(classes.clone(), RANGE, weights)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_in_a_rare_class_cost_more_and_less_so_the_more_texts_there_are() {
        let ratio = |texts: usize| {
            let truth: Vec<usize> = (0..texts).map(|index| usize::from(index % 10 == 0)).collect();
            let costs = costs(&truth, 2, 1.0);
            costs[0] / costs[1]
        };
        assert!((ratio(100) - 9_f64.powf(1.0 / 1.01)).abs() < 1e-9, "{}", ratio(100));
        assert!((ratio(10_000) - 3.0).abs() < 1e-9, "{}", ratio(10_000));
    }
}
