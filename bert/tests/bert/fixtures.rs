//! The checkpoints of `tests/fixtures.py` and what transformers says of them.

use std::fs;
use std::path::{Path, PathBuf};

/// The directory of one.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../bert/tests/fixtures").join(name)
}

/// The names of all of them.
pub fn fixtures() -> Vec<String> {
    let entries = fs::read_dir(fixture("")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() >= 6, "{names:?}");
    names
}

/// What transformers says of a fixture.
#[derive(serde::Deserialize)]
pub struct Expected {
    pub texts: Vec<String>,
    #[allow(dead_code, reason = "each of the crates that use this file looks at some of it")]
    pub ids: Vec<Vec<u32>>,
    pub logits: Vec<Vec<f32>>,
}

impl Expected {
    pub fn of(name: &str) -> Self {
        serde_json::from_str(&fs::read_to_string(fixture(name).join("expected.json")).unwrap()).unwrap()
    }
}

/// Fails where two tables of numbers differ by more than `tolerance` anywhere.
pub fn assert_close(what: &str, found: &[Vec<f32>], expected: &[Vec<f32>], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{what}, row {row}");
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= tolerance, "{what}, row {row}: {found}, expected {expected}");
        }
    }
}
