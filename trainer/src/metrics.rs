//! What a classifier is worth on labeled texts.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Counts and rates over a labeled set; serialises as the `--json` of `evaluate` and the `metrics` of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Texts evaluated.
    pub examples: usize,
    /// Share of texts whose best class is the right one.
    pub accuracy: f64,
    /// Mean of the F1 of the classes that occur in truth or prediction (as scikit-learn's `f1_score(average="macro")`).
    pub macro_f1: f64,
    /// Mean cross entropy of the right class in nats, where scores were at hand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub loss: Option<f64>,
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

impl Evaluation {
    /// Compares predicted with true classes; both are indices into `labels`.
    ///
    /// # Panics
    /// When the two differ in length.
    pub fn new(labels: &[String], truth: &[usize], predicted: &[usize]) -> Self {
        assert_eq!(truth.len(), predicted.len(), "a prediction for each text");
        let mut confusion = vec![vec![0; labels.len()]; labels.len()];
        for (&truth, &predicted) in truth.iter().zip(predicted) {
            confusion[truth][predicted] += 1;
        }
        let per_class: Vec<ClassReport> =
            labels.iter().enumerate().map(|(class, label)| class_report(label, class, &confusion)).collect();
        let seen: Vec<f64> = per_class
            .iter()
            .enumerate()
            .filter(|(class, report)| report.support > 0 || confusion.iter().any(|row| row[*class] > 0))
            .map(|(_, report)| report.f1)
            .collect();
        let right: usize = (0..labels.len()).map(|class| confusion[class][class]).sum();
        Self {
            examples: truth.len(),
            accuracy: share(right, truth.len()),
            macro_f1: seen.iter().sum::<f64>() / seen.len().max(1) as f64,
            loss: None,
            per_class,
            confusion,
        }
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
        writeln!(out, "accuracy {:.4}   macro-F1 {:.4}   texts {}", self.accuracy, self.macro_f1, self.examples)?;
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
}
