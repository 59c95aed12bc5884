//! A trained model to a checkpoint that the store can take: the same files, with a manifest that says where they come
//! from.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use classifier::checkpoint::Manifest;
use serde_json::{Value, json};

use super::comparison::Compared;
use crate::round_dataset::RoundDataset;

/// Puts the files of the model beside a manifest with the round, what was reached on the held-out texts, and golden
/// texts by which whoever loads it can see that it works.
///
/// The same round gives the same bytes, so that publishing again after a crash changes nothing.
pub(super) fn assemble(round: i64, dataset: &RoundDataset, compared: &Compared, directory: &Path) -> Result<PathBuf> {
    let out = directory.join("published");
    let failed = || format!("{}: cannot be written", out.display());
    if out.exists() {
        fs::remove_dir_all(&out).with_context(failed)?;
    }
    fs::create_dir_all(&out).with_context(failed)?;
    let trained = Manifest::verify(&compared.directory)?;
    for file in &trained.files {
        let (from, to) = (compared.directory.join(&file.name), out.join(&file.name));
        if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).with_context(failed)?;
        }
    }
    let mut extra = trained.extra;
    let class = |index: usize| &dataset.dataset.labels[index];
    let golden = compared.certain.iter().map(|example| json!({ "text": example.text, "label": class(example.label) }));
    let said = [
        ("round", json!(round)),
        ("dataset", json!({ "fingerprint": dataset.fingerprint, "counts": dataset.counts })),
        ("metrics", json!(compared.verdict.evidence.candidate)),
        ("golden", golden.collect::<Value>()),
    ];
    extra.extend(said.map(|(name, value)| (name.to_owned(), value)));
    Manifest::write(&out, extra)?;
    Ok(out)
}
