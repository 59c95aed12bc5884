//! How good `labelstream train --base new` is with few labels and with many: five folds of a CSV of
//! labeled texts, a growing number of training texts, mean accuracy and macro-F1.
//!
//! The folds are those of the reference figures: the first 8 hex digits of the SHA-256 of the text
//! without white space, mod 5; of the other folds the first N texts in the order of the rest of the
//! hash. Up to 9,600 texts no network is trained, so the figures are those of the linear model;
//! `bench/training.sh` has the network's.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use trainer::linear::{LinearSettings, fit_linear};
use trainer::{Columns, Dataset, Example, LabelMap};

const FOLDS: u32 = 5;

/// Training texts, and the accuracy and macro-F1 of the best linear models of scikit-learn.
const BUDGETS: [(usize, f64, f64); 5] = [
    (100, 0.822, 0.785),
    (300, 0.849, 0.822),
    (1_000, 0.876, 0.860),
    (3_000, 0.891, 0.875),
    (usize::MAX, 0.904, 0.889),
];

/// Flags of `bench budgets`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A CSV with the columns `label` and `text` or `review`.
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (labels, texts) = read(&arguments.file)?;
    let settings = LinearSettings::default();
    let started = Instant::now();
    println!("| labels | accuracy | scikit-learn | macro-F1 | scikit-learn | loss | seconds a model |");
    println!("|---|---|---|---|---|---|---|");
    for (budget, accuracy, macro_f1) in BUDGETS {
        let runs = (0..FOLDS)
            .map(|fold| evaluate(&settings, &dataset(&labels, &texts, fold, budget)?))
            .collect::<Result<Vec<_>>>()?;
        let mean = |value: &dyn Fn(&Run) -> f64| runs.iter().map(value).sum::<f64>() / runs.len() as f64;
        let count = if budget == usize::MAX { "all".to_owned() } else { budget.to_string() };
        println!(
            "| {count} | {:.4} | {accuracy:.3} | {:.4} | {macro_f1:.3} | {:.3} | {:.1} |",
            mean(&|run| run.accuracy),
            mean(&|run| run.macro_f1),
            mean(&|run| run.loss),
            mean(&|run| run.seconds),
        );
    }
    println!("\n{} texts, {} threads, {:.0} s in all", texts.len(), settings.threads, started.elapsed().as_secs_f64());
    Ok(())
}

struct Text {
    hash: String,
    example: Example,
}

impl Text {
    fn fold(&self) -> Result<u32> {
        Ok(u32::from_str_radix(&self.hash[..8], 16)? % FOLDS)
    }
}

/// The texts in the order of the rest of their hash; of a repeated text the first row counts.
fn read(file: &Path) -> Result<(Vec<String>, Vec<Text>)> {
    let rows = trainer::labeled_rows::read(file, &Columns::default())?;
    let classes = LabelMap::learn(&rows, None)?;
    let mut seen = HashSet::new();
    let mut texts = Vec::new();
    for example in classes.examples(&rows)? {
        let bare: String = example.text.split_whitespace().collect();
        let hash: String = Sha256::digest(bare).iter().map(|byte| format!("{byte:02x}")).collect();
        if seen.insert(hash.clone()) {
            texts.push(Text { hash, example });
        }
    }
    texts.sort_by(|one, other| one.hash[8..].cmp(&other.hash[8..]));
    Ok((classes.names().to_vec(), texts))
}

struct Run {
    accuracy: f64,
    macro_f1: f64,
    loss: f64,
    seconds: f64,
}

/// The first texts outside the fold to learn from, and those inside to evaluate on.
fn dataset(labels: &[String], texts: &[Text], fold: u32, budget: usize) -> Result<Dataset> {
    let mut dataset = Dataset { classes: labels.to_vec(), train: Vec::new(), valid: Vec::new(), lessons: None };
    for text in texts {
        if text.fold()? == fold {
            dataset.valid.push(text.example.clone());
        } else if dataset.train.len() < budget {
            dataset.train.push(text.example.clone());
        }
    }
    Ok(dataset)
}

fn evaluate(settings: &LinearSettings, dataset: &Dataset) -> Result<Run> {
    let directory = tempfile::tempdir()?;
    let summary = fit_linear(settings, dataset, &directory.path().join("model"))?;
    let evaluation = summary.evaluation.context("a fold without texts")?;
    Ok(Run {
        accuracy: evaluation.accuracy,
        macro_f1: evaluation.macro_f1,
        loss: evaluation.loss.unwrap_or(f64::NAN),
        seconds: summary.seconds,
    })
}
