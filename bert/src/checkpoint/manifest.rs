//! The manifest of a checkpoint: the size and SHA-256 of each file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::CheckpointError;

/// The manifest's own name; it does not list itself.
const NAME: &str = "manifest.json";

/// `manifest.json`: the files of a checkpoint with their sizes and hashes, and whatever else the
/// writer wants to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The files, sorted by name.
    pub files: Vec<ManifestFile>,
    /// Other fields.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its name, without a directory.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Measures the files of a directory and writes its `manifest.json`, for checkpoints that came
    /// without one.
    ///
    /// # Errors
    /// Failure to read or write.
    pub fn write(directory: &Path, extra: Map<String, Value>) -> Result<Self, CheckpointError> {
        let failed = |source| CheckpointError::file(directory, source);
        let mut files = Vec::new();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != NAME && entry.path().is_file() {
                files.push(measure(directory, &name)?);
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let manifest = Self { files, extra };
        let file = directory.join(NAME);
        let mut text = serde_json::to_string_pretty(&manifest)
            .expect("names, sizes and JSON values have a text: anything else is a bug");
        text.push('\n');
        fs::write(&file, text).map_err(|source| CheckpointError::file(&file, source))?;
        Ok(manifest)
    }

    /// Reads `manifest.json`, and nothing else.
    ///
    /// # Errors
    /// A manifest that is missing or damaged.
    pub fn read(directory: &Path) -> Result<Self, CheckpointError> {
        let file = directory.join(NAME);
        let text = fs::read(&file).map_err(|source| CheckpointError::file(&file, source))?;
        serde_json::from_slice(&text).map_err(|error| CheckpointError::damaged(&file, error))
    }

    /// Reads `manifest.json` and compares every file with it.
    ///
    /// # Errors
    /// A manifest that is missing or damaged, a file that is missing or has another size or hash.
    pub fn verify(directory: &Path) -> Result<Self, CheckpointError> {
        let file = directory.join(NAME);
        let manifest = Self::read(directory)?;
        for expected in &manifest.files {
            let mut parts = Path::new(&expected.name).components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
                return Err(CheckpointError::damaged(&file, format!("{:?} is not the name of a file", expected.name)));
            }
            let found = measure(directory, &expected.name)?;
            let problem = if found.size != expected.size {
                format!("has {} bytes, the manifest says {}", found.size, expected.size)
            } else if found.sha256 != expected.sha256 {
                format!("has SHA-256 {}, the manifest says {}", found.sha256, expected.sha256)
            } else {
                continue;
            };
            return Err(CheckpointError::damaged(&directory.join(&expected.name), problem));
        }
        Ok(manifest)
    }

    /// The SHA-256 of the directory's `manifest.json`, in hexadecimal: the identity of the
    /// checkpoint.
    ///
    /// # Errors
    /// Failure to read.
    pub fn sha256(directory: &Path) -> Result<String, CheckpointError> {
        Ok(measure(directory, NAME)?.sha256)
    }
}

fn measure(directory: &Path, name: &str) -> Result<ManifestFile, CheckpointError> {
    let file = directory.join(name);
    let (size, sha256) = hash(&file).map_err(|source| CheckpointError::file(&file, source))?;
    Ok(ManifestFile { name: name.to_owned(), size, sha256 })
}

fn hash(file: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(file)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((size, hex::encode(hasher.finalize()))),
            count => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
}
