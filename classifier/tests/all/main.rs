//! What the crate promises to others, tested from outside: one binary, because each costs a link.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod damaged;
mod encoder;
mod labels;
mod linear;
mod parity;
mod round_trip;
mod training;

use std::fs;
use std::path::{Path, PathBuf};

/// A checkpoint made by `tests/fixtures.py`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The names of all of them.
fn fixtures() -> Vec<String> {
    let entries = fs::read_dir(fixture("")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() >= 6, "{names:?}");
    names
}

/// A copy of a fixture, to damage.
fn copy(name: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
    }
    directory
}

/// Changes the text of a file.
fn edit(directory: &Path, name: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let file = directory.join(name);
    let mut json = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    change(&mut json);
    fs::write(file, json.to_string()).unwrap();
}

/// What transformers says of a fixture.
#[derive(serde::Deserialize)]
struct Expected {
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
    logits: Vec<Vec<f32>>,
}

impl Expected {
    fn of(name: &str) -> Self {
        serde_json::from_str(&fs::read_to_string(fixture(name).join("expected.json")).unwrap()).unwrap()
    }
}

/// Fails where two tables of numbers differ by more than `tolerance` anywhere.
fn assert_close(what: &str, found: &[Vec<f32>], expected: &[Vec<f32>], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{what}, row {row}");
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= tolerance, "{what}, row {row}: {found}, expected {expected}");
        }
    }
}
