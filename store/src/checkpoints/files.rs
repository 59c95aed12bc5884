//! What a manifest says of the files of a checkpoint.

use std::path::{Component, Path};

use super::MANIFEST;

/// A file of a checkpoint.
#[derive(Debug, serde::Deserialize)]
pub struct Listed {
    /// Its name, without a directory.
    pub name: String,
    /// Its size in bytes, where the manifest says it.
    pub size: Option<u64>,
}

/// The files that a manifest lists; plain names only, so that none is written outside its
/// directory.
pub fn listed(manifest: &[u8]) -> Result<Vec<Listed>, String> {
    #[derive(serde::Deserialize)]
    struct Manifest {
        files: Vec<Listed>,
    }
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(|why| format!("{MANIFEST}: {why}"))?;
    let plain = |name: &str| {
        let mut components = Path::new(name).components();
        matches!((components.next(), components.next()), (Some(Component::Normal(only)), None) if only == name)
    };
    match manifest.files.iter().find(|file| !plain(&file.name)) {
        Some(file) => Err(format!("{MANIFEST}: `{}` is not a plain file name", file.name)),
        None => Ok(manifest.files),
    }
}
