//! Writing a checkpoint: whole or not at all, and once.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::{Device, Tensor};
use serde_json::{Map, Value};

use super::{Checkpoint, CheckpointError, Manifest};

pub(super) fn save(
    checkpoint: &Checkpoint,
    directory: &Path,
    extra: Map<String, Value>,
) -> Result<Manifest, CheckpointError> {
    write_once(directory, extra, |partial| {
        write_config(checkpoint, partial)?;
        write_weights(checkpoint, partial)?;
        checkpoint.tokenizer.save(partial)
    })
}

/// A directory appears whole or not at all: `write` fills it under another name; with its manifest
/// it is synced and renamed.
///
/// # Errors
/// [`CheckpointError::Exists`], or failure to write.
pub fn write_once(
    directory: &Path,
    extra: Map<String, Value>,
    write: impl FnOnce(&Path) -> Result<(), CheckpointError>,
) -> Result<Manifest, CheckpointError> {
    if directory.exists() {
        return Err(CheckpointError::Exists { directory: directory.to_owned() });
    }
    let partial = Partial::create(directory)?;
    write(&partial.path)?;
    let manifest = Manifest::write(&partial.path, extra)?;
    partial.finish(directory)?;
    Ok(manifest)
}

fn write_config(checkpoint: &Checkpoint, directory: &Path) -> Result<(), CheckpointError> {
    let file = directory.join("config.json");
    fs::write(&file, checkpoint.config.to_json()).map_err(|source| CheckpointError::file(&file, source))
}

fn write_weights(checkpoint: &Checkpoint, directory: &Path) -> Result<(), CheckpointError> {
    let file = directory.join("model.safetensors");
    let on_cpu = checkpoint.parameters.iter().map(|(name, tensor)| {
        Ok((checkpoint.config.stored_name(name), tensor.detach().to_device(&Device::Cpu)?.contiguous()?))
    });
    let on_cpu: candle_core::Result<Vec<(String, Tensor)>> = on_cpu.collect();
    let on_cpu = on_cpu.map_err(|error| CheckpointError::damaged(&file, error))?;
    // transformers refuses a file that does not say from which framework it is.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let written = ::safetensors::serialize_to_file(on_cpu, Some(metadata), &file);
    written.map_err(|error| match error {
        ::safetensors::SafeTensorError::IoError(source) => CheckpointError::file(&file, source),
        error => CheckpointError::damaged(&file, error),
    })
}

/// A directory under construction, removed unless it is finished.
struct Partial {
    path: PathBuf,
}

impl Partial {
    /// An empty directory beside `target`, so that renaming stays inside one file system.
    fn create(target: &Path) -> Result<Self, CheckpointError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let parent = parent(target);
        fs::create_dir_all(parent).map_err(|source| CheckpointError::file(parent, source))?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!(".{name}.partial-{}-{count}", process::id()));
        match fs::remove_dir_all(&path) {
            // Left by a process that had our number and was killed.
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(problem) => return Err(CheckpointError::File { file: path, problem }),
        }
        fs::create_dir(&path).map_err(|source| CheckpointError::file(&path, source))?;
        Ok(Self { path })
    }

    fn finish(self, target: &Path) -> Result<(), CheckpointError> {
        let finish = || {
            for entry in fs::read_dir(&self.path)? {
                File::open(entry?.path())?.sync_all()?;
            }
            File::open(&self.path)?.sync_all()?;
            fs::rename(&self.path, target)?;
            File::open(parent(target))?.sync_all()
        };
        finish().map_err(|source| match source.kind() {
            // Somebody else finished the same directory first.
            io::ErrorKind::DirectoryNotEmpty => CheckpointError::Exists { directory: target.to_owned() },
            _ => CheckpointError::file(target, source),
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove; otherwise the error that led here matters
        // more than this one.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn parent(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
