//! Raw rows to splits that one can trust: cleaned, de-duplicated, stratified, and no text on two sides.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Result, ensure};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::dataset::{Row, sort_labels};

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
    /// Dropped: the same text and label as an earlier row.
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

/// Cleans, de-duplicates and splits. The same rows (in any order), options and seed give the same splits.
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
    let rows = drop_contradictions(rows, &mut report);
    let rows = drop_duplicates(rows, &mut report);
    ensure!(!rows.is_empty(), "no row with a text and a label is left of {}", report.rows);
    report.kept = rows.len();
    Ok(split(rows, options, report))
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

/// Who is right cannot be told, so all rows of such a text go.
fn drop_contradictions(mut rows: Vec<Row>, report: &mut Report) -> Vec<Row> {
    let mut labels: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    for row in &rows {
        labels.entry(&row.text).or_default().insert(&row.label);
    }
    let contradicted: Vec<bool> = rows.iter().map(|row| labels[row.text.as_str()].len() > 1).collect();
    report.contradictions = contradicted.iter().filter(|contradicted| **contradicted).count();
    let mut contradicted = contradicted.into_iter();
    rows.retain(|_| !contradicted.next().expect("a flag for each row: anything else is a bug"));
    rows
}

fn drop_duplicates(rows: Vec<Row>, report: &mut Report) -> Vec<Row> {
    let before = rows.len();
    let mut seen = BTreeSet::new();
    let kept: Vec<Row> = rows.into_iter().filter(|row| seen.insert(row.text.clone())).collect();
    report.duplicates = before - kept.len();
    kept
}

/// A seeded hash.
type Order = [u8; 32];

/// Texts with the same [`key`] are one group and fall together. Each label's groups are taken in the order of a seeded hash,
/// so that a text stays where it is when others come and go, and fill test, then validation, then training.
fn split(rows: Vec<Row>, options: &Options, mut report: Report) -> Prepared {
    let mut groups: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(key(&row.text)).or_default().push(row);
    }
    // A group's label is that of its first row: with punctuation apart, a text may still stand with two labels.
    let mut strata: BTreeMap<String, Vec<(Order, Vec<Row>)>> = BTreeMap::new();
    for (key, group) in groups {
        let order = Sha256::new().chain_update(options.seed.to_le_bytes()).chain_update(&key).finalize();
        strata.entry(group[0].label.clone()).or_default().push((order.into(), group));
    }
    let mut splits: [Vec<Row>; 3] = Default::default();
    for mut groups in strata.into_values() {
        groups.sort_unstable_by_key(|(order, _)| *order);
        deal(groups.into_iter().map(|(_, group)| group).collect(), options, &mut splits);
    }
    for rows in &mut splits {
        rows.sort_by_key(|row| row.line);
    }
    let [train, valid, test] = splits;
    report.splits = BTreeMap::from([("train", train.len()), ("valid", valid.len()), ("test", test.len())]);
    report.labels = count_labels(&train, &valid, &test);
    Prepared { train, valid, test, report }
}

/// Deals the groups of one label to training, validation and test.
fn deal(groups: Vec<Vec<Row>>, options: &Options, [train, valid, test]: &mut [Vec<Row>; 3]) {
    let rows: usize = groups.iter().map(Vec::len).sum();
    // A label with three texts or more shows itself in every file that is asked for.
    let quota = |share: f64| {
        let least = usize::from(share > 0.0 && rows >= 3);
        ((rows as f64 * share).round() as usize).max(least)
    };
    let mut test_quota = quota(options.test);
    let mut valid_quota = quota(options.valid);
    for group in groups {
        let (target, left) = if group.len() <= test_quota {
            (&mut *test, &mut test_quota)
        } else if group.len() <= valid_quota {
            (&mut *valid, &mut valid_quota)
        } else {
            train.extend(group);
            continue;
        };
        *left -= group.len();
        target.extend(group);
    }
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
