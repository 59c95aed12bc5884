//! What a classifier is worth on labeled texts.

mod registry;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use classifier::Prediction;
use serde::{Deserialize, Serialize, Serializer};

pub use registry::{METRICS, Metric, metric};

/// Counts and rates over a labeled set; serialises as the `--json` of `evaluate` and the `metrics`
/// of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Texts evaluated.
    pub examples: usize,
    /// Share of texts whose best class is the right one.
    pub accuracy: f64,
    /// Mean of the F1 of the classes that occur in truth or prediction (as scikit-learn's
    /// `f1_score(average="macro")`).
    pub macro_f1: f64,
    /// Mean cross entropy of the right class in nats, where scores were at hand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub loss: Option<f64>,
    /// Every metric that the answers have, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub metrics: BTreeMap<String, f64>,
    /// In label order.
    pub per_class: Vec<ClassReport>,
    /// `confusion[truth][predicted]`, in label order.
    pub confusion: Vec<Vec<usize>>,
}

/// One class against the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// Its name.
    pub label: String,
    /// Of the texts predicted so, the share that are so; 0 where none was predicted.
    pub precision: f64,
    /// Of the texts that are so, the share predicted so; 0 where there is none.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// Texts that are so.
    pub support: usize,
}

/// Answers beside the truth: what a metric is computed from.
#[derive(Debug)]
pub struct Answers<'a> {
    /// The true class of each text.
    pub truth: &'a [usize],
    /// The scores of each text's classes, where they are at hand.
    pub scores: Option<&'a [Vec<f32>]>,
    /// In label order.
    pub per_class: &'a [ClassReport],
    /// `confusion[truth][predicted]`, in label order.
    pub confusion: &'a [Vec<usize>],
}

impl Evaluation {
    /// Compares predicted with true classes; both are indices into `labels`.
    ///
    /// # Panics
    /// When the two differ in length.
    pub fn new(labels: &[String], truth: &[usize], predicted: &[usize]) -> Self {
        Self::measure(labels, truth, predicted, None)
    }

    /// Compares the scores of the classes of each text, in the order of `labels`, with the true
    /// classes.
    ///
    /// # Panics
    /// When the two differ in length.
    pub fn of_scores(labels: &[String], truth: &[usize], scores: &[Vec<f32>]) -> Self {
        let best = |scores: &Vec<f32>| Prediction { scores: scores.clone() }.best().0;
        let predicted: Vec<usize> = scores.iter().map(best).collect();
        Self::measure(labels, truth, &predicted, Some(scores))
    }

    fn measure(labels: &[String], truth: &[usize], predicted: &[usize], scores: Option<&[Vec<f32>]>) -> Self {
        assert_eq!(truth.len(), predicted.len(), "a prediction for each text");
        let mut confusion = vec![vec![0; labels.len()]; labels.len()];
        for (&truth, &predicted) in truth.iter().zip(predicted) {
            confusion[truth][predicted] += 1;
        }
        let per_class: Vec<ClassReport> =
            labels.iter().enumerate().map(|(class, label)| class_report(label, class, &confusion)).collect();
        let answers = Answers { truth, scores, per_class: &per_class, confusion: &confusion };
        let value = |metric: &&dyn Metric| Some((metric.name().to_owned(), metric.value(&answers)?));
        let metrics: BTreeMap<String, f64> = METRICS.iter().filter_map(value).collect();
        Self {
            examples: truth.len(),
            accuracy: metrics["accuracy"],
            macro_f1: metrics["macro-f1"],
            loss: metrics.get("loss").copied(),
            metrics,
            per_class,
            confusion,
        }
    }
}

/// What makes a checkpoint better than another on the validation texts: a metric's name, or `f1:`,
/// `precision:` or `recall:` and the name of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BestBy(String);

/// A name that is no metric's.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownMetric(String);

impl BestBy {
    /// The figure of an evaluation; `None` where it has none.
    pub fn value(&self, evaluation: &Evaluation) -> Option<f64> {
        let Some((figure, label)) = self.class() else { return evaluation.metrics.get(&self.0).copied() };
        let report = evaluation.per_class.iter().find(|report| report.label == label)?;
        match figure {
            "f1" => Some(report.f1),
            "precision" => Some(report.precision),
            "recall" => Some(report.recall),
            _ => None,
        }
    }

    /// Whether there is such a figure for these classes.
    pub fn is_for(&self, labels: &[String]) -> bool {
        match self.class() {
            Some((_, label)) => labels.iter().any(|name| name == label),
            None => metric(&self.0).is_some_and(|metric| metric.is_for(labels.len())),
        }
    }

    /// Whether one evaluation is better than another; equals are not.
    pub fn is_better(&self, one: &Evaluation, other: &Evaluation) -> bool {
        let less_is_better = metric(&self.0).is_some_and(Metric::less_is_better);
        match (self.value(one), self.value(other)) {
            (Some(one), Some(other)) => {
                if less_is_better {
                    one < other
                } else {
                    one > other
                }
            }
            (one, _) => one.is_some(),
        }
    }

    fn class(&self) -> Option<(&str, &str)> {
        self.0.split_once(':')
    }
}

impl Default for BestBy {
    fn default() -> Self {
        Self("accuracy".to_owned())
    }
}

impl FromStr for BestBy {
    type Err = UnknownMetric;

    fn from_str(text: &str) -> Result<Self, UnknownMetric> {
        let best_by = Self(text.to_owned());
        let is_known = match best_by.class() {
            Some((figure, _)) => ["f1", "precision", "recall"].contains(&figure),
            None => metric(text).is_some(),
        };
        if is_known { Ok(best_by) } else { Err(UnknownMetric(text.to_owned())) }
    }
}

impl fmt::Display for BestBy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Serialize for BestBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::error::Error for UnknownMetric {}

impl fmt::Display for UnknownMetric {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = METRICS.iter().map(|metric| metric.name()).collect();
        write!(
            out,
            "no metric is called {:?}; there are {}, and f1, precision and recall of a class, as f1:CLASS",
            self.0,
            names.join(", ")
        )
    }
}

fn class_report(label: &str, class: usize, confusion: &[Vec<usize>]) -> ClassReport {
    let right = confusion[class][class];
    let support: usize = confusion[class].iter().sum();
    let predicted: usize = confusion.iter().map(|row| row[class]).sum();
    ClassReport {
        label: label.to_owned(),
        precision: share(right, predicted),
        recall: share(right, support),
        f1: share(2 * right, predicted + support),
        support,
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl fmt::Display for Evaluation {
    /// A table for people.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "accuracy {:.4}   macro-F1 {:.4}", self.accuracy, self.macro_f1)?;
        for metric in METRICS.iter().map(|metric| metric.name()).filter(|name| !["accuracy", "macro-f1"].contains(name))
        {
            if let Some(value) = self.metrics.get(metric) {
                write!(out, "   {metric} {value:.4}")?;
            }
        }
        writeln!(out, "   texts {}", self.examples)?;
        writeln!(out, "\nprecision  recall     F1  support  label")?;
        for class in &self.per_class {
            writeln!(
                out,
                "{:>9.4}  {:>6.4}  {:>5.3}  {:>7}  {}",
                class.precision, class.recall, class.f1, class.support, class.label
            )?;
        }
        writeln!(out, "\nconfusion (a row is the truth, a column the prediction)")?;
        for (row, class) in self.confusion.iter().zip(&self.per_class) {
            for count in row {
                write!(out, "{count:>8}")?;
            }
            writeln!(out, "  {}", class.label)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    /// ```python
    /// from sklearn.metrics import *
    /// t, p = [0,0,0,1,1,2,2,2,2,2], [0,1,0,1,1,2,2,0,2,1]
    /// print(accuracy_score(t, p), f1_score(t, p, average="macro"))
    /// print(precision_recall_fscore_support(t, p)); print(confusion_matrix(t, p))
    /// ```
    #[test]
    fn the_figures_are_those_of_scikit_learn() {
        let truth = [0, 0, 0, 1, 1, 2, 2, 2, 2, 2];
        let predicted = [0, 1, 0, 1, 1, 2, 2, 0, 2, 1];
        let evaluation = Evaluation::new(&names(&["a", "b", "c"]), &truth, &predicted);
        assert_eq!(evaluation.accuracy, 0.7);
        assert!((evaluation.macro_f1 - 0.6944444444444443).abs() < 1e-12);
        let precision: Vec<f64> = evaluation.per_class.iter().map(|c| c.precision).collect();
        assert_eq!(precision, [2.0 / 3.0, 0.5, 1.0]);
        let recall: Vec<f64> = evaluation.per_class.iter().map(|c| c.recall).collect();
        assert_eq!(recall, [2.0 / 3.0, 1.0, 0.6]);
        assert_eq!(evaluation.confusion, [vec![2, 1, 0], vec![0, 2, 0], vec![1, 1, 3]]);
    }

    #[test]
    fn a_class_that_nobody_saw_does_not_lower_the_mean() {
        let evaluation = Evaluation::new(&names(&["a", "b", "never"]), &[0, 1], &[0, 1]);
        assert_eq!(evaluation.macro_f1, 1.0);
        assert_eq!(evaluation.per_class[2].f1, 0.0);
    }

    #[test]
    fn no_texts_give_zeros_and_not_nan() {
        let evaluation = Evaluation::new(&names(&["a", "b"]), &[], &[]);
        assert_eq!((evaluation.accuracy, evaluation.macro_f1), (0.0, 0.0));
    }

    #[test]
    fn the_table_names_every_class() {
        let table = Evaluation::new(&names(&["差评", "好评"]), &[0, 1], &[0, 0]).to_string();
        assert!(table.contains("差评") && table.contains("好评") && table.contains("0.5000"));
    }

    #[test]
    fn the_best_is_chosen_by_any_metric_and_by_the_figures_of_a_class() {
        let labels = names(&["差评", "好评"]);
        let one = Evaluation::of_scores(&labels, &[0, 1, 1], &[vec![0.9, 0.1], vec![0.2, 0.8], vec![0.6, 0.4]]);
        let other = Evaluation::of_scores(&labels, &[0, 1, 1], &[vec![0.1, 0.9], vec![0.4, 0.6], vec![0.3, 0.7]]);
        let best_by = |name: &str| name.parse::<BestBy>().unwrap();
        for name in ["accuracy", "macro-f1", "loss", "precision:好评", "mcc", "auc", "f1:差评"] {
            let better = best_by(name).is_better(&one, &other);
            assert_eq!(better, !["accuracy"].contains(&name), "{name}");
            assert!(!best_by(name).is_better(&one, &one), "{name}");
        }
        assert!(best_by("recall:好评").is_better(&other, &one));
        assert!(best_by("f1:中评").value(&one).is_none() && !best_by("f1:中评").is_for(&labels));
        assert!(!best_by("auc").is_for(&names(&["a", "b", "c"])));
        assert!("f2:好评".parse::<BestBy>().unwrap_err().to_string().contains("macro-f1"));
    }

    #[test]
    fn figures_that_were_written_are_read_again() {
        let evaluation = Evaluation::new(&names(&["a", "b"]), &[0, 1, 1], &[0, 1, 0]);
        let json = serde_json::to_string(&evaluation).unwrap();
        let again: Evaluation = serde_json::from_str(&json).unwrap();
        assert_eq!(again.per_class, evaluation.per_class);
        // Checkpoints of earlier versions have no `metrics`.
        let old = json.replace("\"metrics\"", "\"others\"");
        assert!(serde_json::from_str::<Evaluation>(&old).unwrap().metrics.is_empty());
    }
}
