//! The figures that answers are measured by, by name.

use super::Answers;

/// A figure of how good answers are. A new one is a type with this trait and a line in [`METRICS`]:
/// `train` and `evaluate` then print it, and `--best-by` takes it.
pub trait Metric: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Its value; `None` where these answers have none.
    fn value(&self, answers: &Answers) -> Option<f64>;

    /// Whether there is such a figure for so many classes.
    fn is_for(&self, _classes: usize) -> bool {
        true
    }

    /// Whether less of it is better.
    fn less_is_better(&self) -> bool {
        false
    }
}

/// All metrics, in the order in which they are printed.
pub static METRICS: &[&dyn Metric] = &[&Accuracy, &MacroF1, &Mcc, &Auc, &Loss];

/// The metric of this name.
pub fn metric(name: &str) -> Option<&'static dyn Metric> {
    METRICS.iter().copied().find(|metric| metric.name() == name)
}

/// Share of texts whose best class is the right one.
struct Accuracy;

impl Metric for Accuracy {
    fn name(&self) -> &'static str {
        "accuracy"
    }

    fn value(&self, answers: &Answers) -> Option<f64> {
        let right: usize = (0..answers.confusion.len()).map(|class| answers.confusion[class][class]).sum();
        Some(super::share(right, answers.truth.len()))
    }
}

/// Mean F1 of the classes that occur in truth or prediction.
struct MacroF1;

impl Metric for MacroF1 {
    fn name(&self) -> &'static str {
        "macro-f1"
    }

    fn value(&self, answers: &Answers) -> Option<f64> {
        let predicted = |class: usize| answers.confusion.iter().any(|row| row[class] > 0);
        let reports = answers.per_class.iter().enumerate();
        let seen: Vec<f64> = reports
            .filter(|(class, report)| report.support > 0 || predicted(*class))
            .map(|(_, report)| report.f1)
            .collect();
        Some(seen.iter().sum::<f64>() / seen.len().max(1) as f64)
    }
}

/// Matthews' correlation of truth and prediction, for any number of classes (Gorodkin, 2004): 1 all
/// right, 0 by chance.
struct Mcc;

impl Metric for Mcc {
    fn name(&self) -> &'static str {
        "mcc"
    }

    fn value(&self, answers: &Answers) -> Option<f64> {
        let classes = 0..answers.confusion.len();
        let right: usize = classes.clone().map(|class| answers.confusion[class][class]).sum();
        let truth = classes.clone().map(|class| answers.confusion[class].iter().sum::<usize>() as f64);
        let predicted = classes.map(|class| answers.confusion.iter().map(|row| row[class]).sum::<usize>() as f64);
        let all = answers.truth.len() as f64;
        let by_chance: f64 = truth.clone().zip(predicted.clone()).map(|(truth, predicted)| truth * predicted).sum();
        let spread = |counts: f64| all * all - counts;
        let truth = spread(truth.map(|count| count * count).sum());
        let predicted = spread(predicted.map(|count| count * count).sum());
        let scale = (truth * predicted).sqrt();
        Some(if scale == 0.0 { 0.0 } else { (right as f64 * all - by_chance) / scale })
    }
}

/// Area under the ROC curve of two classes: how often a text of the second has a higher score for
/// it than one of the first.
struct Auc;

impl Metric for Auc {
    fn name(&self) -> &'static str {
        "auc"
    }

    fn is_for(&self, classes: usize) -> bool {
        classes == 2
    }

    fn value(&self, answers: &Answers) -> Option<f64> {
        if !self.is_for(answers.confusion.len()) {
            return None;
        }
        let mut ranked: Vec<(f32, usize)> =
            answers.scores?.iter().zip(answers.truth).map(|(scores, truth)| (scores[1], *truth)).collect();
        ranked.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let (mut below, mut wins) = (0.0, 0.0);
        for equal in ranked.chunk_by(|(a, _), (b, _)| a == b) {
            let second = equal.iter().filter(|(_, truth)| *truth == 1).count() as f64;
            let first = equal.len() as f64 - second;
            // A tie is half a win.
            wins += second * (below + first / 2.0);
            below += first;
        }
        let second = ranked.len() as f64 - below;
        (below > 0.0 && second > 0.0).then(|| wins / (below * second))
    }
}

/// Mean cross entropy of the right class in nats.
struct Loss;

impl Metric for Loss {
    fn name(&self) -> &'static str {
        "loss"
    }

    fn less_is_better(&self) -> bool {
        true
    }

    fn value(&self, answers: &Answers) -> Option<f64> {
        // A score that was rounded to zero counts as the smallest that f32 tells from zero, not as
        // an infinite loss.
        let loss = |(truth, scores): (&usize, &Vec<f32>)| -f64::from(scores[*truth].max(f32::MIN_POSITIVE)).ln();
        let total: f64 = answers.truth.iter().zip(answers.scores?).map(loss).sum();
        (!answers.truth.is_empty()).then(|| total / answers.truth.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use crate::metrics::Evaluation;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    /// ```python
    /// from sklearn.metrics import *
    /// t, p = [0, 0, 0, 1, 1, 2, 2, 2, 2, 2], [0, 1, 0, 1, 1, 2, 2, 0, 2, 1]
    /// print(matthews_corrcoef(t, p))
    /// ```
    #[test]
    fn the_correlation_of_three_classes_is_that_of_scikit_learn() {
        let (truth, predicted) = ([0, 0, 0, 1, 1, 2, 2, 2, 2, 2], [0, 1, 0, 1, 1, 2, 2, 0, 2, 1]);
        let evaluation = Evaluation::new(&names(&["a", "b", "c"]), &truth, &predicted);
        assert!((evaluation.metrics["mcc"] - 0.5940401295066863).abs() < 1e-12);
        assert!(!evaluation.metrics.contains_key("auc"));
    }

    /// ```python
    /// from sklearn.metrics import *
    /// t, s = [0, 1, 1, 0, 1, 0], [0.1, 0.4, 0.35, 0.8, 0.9, 0.35]
    /// print(roc_auc_score(t, s), matthews_corrcoef(t, [x > 0.5 for x in s]), log_loss(t, s))
    /// ```
    #[test]
    fn the_figures_of_scores_are_those_of_scikit_learn() {
        let scores: Vec<Vec<f32>> =
            [0.1, 0.4, 0.35, 0.8, 0.9, 0.35].map(|score: f32| vec![1.0 - score, score]).to_vec();
        let evaluation = Evaluation::of_scores(&names(&["bad", "good"]), &[0, 1, 1, 0, 1, 0], &scores);
        for (name, expected) in [("auc", 0.7222222222222222), ("mcc", 0.0), ("loss", 0.7028424527025067)] {
            assert!((evaluation.metrics[name] - expected).abs() < 1e-6, "{name} is {}", evaluation.metrics[name]);
        }
    }

    #[test]
    fn one_class_alone_has_no_area_and_no_correlation() {
        let evaluation = Evaluation::of_scores(&names(&["bad", "good"]), &[1, 1], &[vec![0.2, 0.8], vec![0.6, 0.4]]);
        assert!(!evaluation.metrics.contains_key("auc"));
        assert_eq!(evaluation.metrics["mcc"], 0.0);
    }
}
