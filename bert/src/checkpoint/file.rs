//! The files of a checkpoint directory, as they are opened: what Git leaves in place of a large
//! file, and an empty one, are said to be just that.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use super::CheckpointError;

/// What a Git LFS pointer begins with.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Opens a file that must hold something; and its size in bytes.
pub(super) fn open(path: &Path) -> Result<(File, u64), CheckpointError> {
    let failed = |problem| CheckpointError::file(path, problem);
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_file() && metadata.len() == 0 {
        return Err(CheckpointError::damaged(path, "is empty"));
    }
    let mut start = Vec::new();
    (&file).take(POINTER.len() as u64).read_to_end(&mut start).map_err(failed)?;
    if start == POINTER {
        let problem = "is a Git LFS pointer, not the file that it stands for: run `git lfs pull` where it was cloned";
        return Err(CheckpointError::damaged(path, problem));
    }
    file.rewind().map_err(failed)?;
    Ok((file, metadata.len()))
}

/// Reads a whole file that must hold something.
///
/// # Errors
/// Failure to read; an empty file, a Git LFS pointer.
pub fn read(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    let (mut file, size) = open(path)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.read_to_end(&mut bytes).map_err(|problem| CheckpointError::file(path, problem))?;
    Ok(bytes)
}
