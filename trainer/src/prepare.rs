//! Raw rows to splits that one can trust: cleaned, de-duplicated, stratified, and no text on two sides.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::dataset::sort_labels;
use crate::labeled_rows::Row;

mod normalize;
mod write;

pub use normalize::{clean, key, normalize};
pub use write::{FILES, write};

/// How rows are prepared.
#[derive(Debug, Clone)]
pub struct Options {
    /// Also remove what the web adds: see [`clean`].
    pub clean: bool,
    /// Share of the texts that choose the best checkpoint.
    pub valid: f64,
    /// Share of the texts that measure the result.
    pub test: f64,
    /// Which texts fall where.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { clean: false, valid: 0.1, test: 0.1, seed: 0 }
    }
}

/// The three splits, each in the order of the input, and what happened on the way.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// To learn from.
    pub train: Vec<Row>,
    /// To choose the best checkpoint.
    pub valid: Vec<Row>,
    /// To measure the result.
    pub test: Vec<Row>,
    /// What was dropped and what was kept.
    pub report: Report,
}

/// What was dropped and what was kept, in rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Rows read.
    pub rows: usize,
    /// Dropped: no text, or none left after normalizing.
    pub without_text: usize,
    /// Dropped: no label.
    pub without_label: usize,
    /// Dropped: the same text and label as an earlier row, but for white space, case, width and punctuation.
    pub duplicates: usize,
    /// Dropped: the same text stands with different labels.
    pub contradictions: usize,
    /// Kept.
    pub kept: usize,
    /// Kept rows by split.
    pub splits: BTreeMap<&'static str, usize>,
    /// Kept rows by label (in label order) and split.
    pub labels: Vec<LabelCount>,
}

/// The kept rows of one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabelCount {
    /// The label.
    pub label: String,
    /// Its rows to learn from.
    pub train: usize,
    /// Its rows to choose by.
    pub valid: usize,
    /// Its rows to measure with.
    pub test: usize,
}

/// Cleans, de-duplicates and splits. The same rows, options and seed give the same splits.
///
/// Texts are the same where their [`key`]s are: they differ in white space, case, width or punctuation at most. One row of
/// each is kept, so that no text stands on two sides.
///
/// # Errors
/// Shares that leave nothing to learn from, and rows of which none is left.
pub fn prepare(rows: Vec<Row>, options: &Options) -> Result<Prepared> {
    let shares = [options.valid, options.test];
    ensure!(
        shares.iter().all(|share| (0.0..1.0).contains(share)) && shares.iter().sum::<f64>() < 1.0,
        "the shares of validation and test must be at least 0 and leave something to learn from"
    );
    let mut report = Report { rows: rows.len(), ..Report::default() };
    let rows = drop_empty(rows, options.clean, &mut report);
    let texts = drop_repeated(rows, &mut report);
    ensure!(!texts.is_empty(), "no row with a text and a label is left of {}", report.rows);
    report.kept = texts.len();
    Ok(split(texts, options, report))
}

fn drop_empty(rows: Vec<Row>, cleaned: bool, report: &mut Report) -> Vec<Row> {
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        let text = if cleaned { clean(&row.text) } else { normalize(&row.text) };
        let label = row.label.trim().to_owned();
        if text.is_empty() {
            report.without_text += 1;
        } else if label.is_empty() {
            report.without_label += 1;
        } else {
            kept.push(Row { text, label, ..row });
        }
    }
    kept
}

/// The first row of each text by its key. Where rows of a text have different labels, who is right cannot be told: all go.
fn drop_repeated(rows: Vec<Row>, report: &mut Report) -> BTreeMap<String, Row> {
    let mut texts: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows {
        texts.entry(key(&row.text)).or_default().push(row);
    }
    let mut kept = BTreeMap::new();
    for (key, rows) in texts {
        let count = rows.len();
        let mut rows = rows.into_iter();
        let first = rows.next().expect("a key without a row is a bug");
        if rows.any(|row| row.label != first.label) {
            report.contradictions += count;
        } else {
            report.duplicates += count - 1;
            kept.insert(key, first);
        }
    }
    kept
}

/// Deals the texts of each label out in the order of a seeded hash, so that a text tends to stay where it is when others come
/// and go: test first, then validation, the rest to training.
fn split(texts: BTreeMap<String, Row>, options: &Options, mut report: Report) -> Prepared {
    let mut labels: BTreeMap<String, BTreeMap<[u8; 32], Row>> = BTreeMap::new();
    for (key, row) in texts {
        let order = Sha256::new().chain_update(options.seed.to_le_bytes()).chain_update(&key).finalize();
        labels.entry(row.label.clone()).or_default().insert(order.into(), row);
    }
    let (mut train, mut valid, mut test) = (Vec::new(), Vec::new(), Vec::new());
    for rows in labels.into_values() {
        // A label with three texts or more shows itself in every file that is asked for.
        let quota = |share: f64| {
            let least = usize::from(share > 0.0 && rows.len() >= 3);
            ((rows.len() as f64 * share).round() as usize).max(least)
        };
        let (test_quota, valid_quota) = (quota(options.test), quota(options.valid));
        let mut rows = rows.into_values();
        test.extend(rows.by_ref().take(test_quota));
        valid.extend(rows.by_ref().take(valid_quota));
        train.extend(rows);
    }
    for rows in [&mut train, &mut valid, &mut test] {
        rows.sort_by_key(|row| row.line);
    }
    report.splits = BTreeMap::from([("train", train.len()), ("valid", valid.len()), ("test", test.len())]);
    report.labels = count_labels(&train, &valid, &test);
    Prepared { train, valid, test, report }
}

fn count_labels(train: &[Row], valid: &[Row], test: &[Row]) -> Vec<LabelCount> {
    let all = train.iter().chain(valid).chain(test);
    let labels = sort_labels(all.map(|row| row.label.as_str()));
    let count = |rows: &[Row], label: &str| rows.iter().filter(|row| row.label == label).count();
    labels
        .into_iter()
        .map(|label| LabelCount {
            train: count(train, &label),
            valid: count(valid, &label),
            test: count(test, &label),
            label,
        })
        .collect()
}

#[cfg(test)]
mod tests;
