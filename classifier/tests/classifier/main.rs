//! What the crate promises to others, tested from outside: one binary, because each costs a link.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod classes;
mod composed;
mod damaged;
#[path = "../../../bert/tests/bert/fixtures.rs"]
mod fixtures;
mod linear;
mod parity;
mod round_trip;

use std::fs;
use std::path::Path;

use fixtures::fixture;

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
