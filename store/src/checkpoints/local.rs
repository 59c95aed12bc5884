//! Files that are on the disk when we say so.

use std::io;
use std::path::Path;

use tempfile::TempDir;
use tokio::fs;

/// Flushes a file to the disk.
pub async fn sync(file: &Path) -> io::Result<()> {
    fs::File::open(file).await?.sync_all().await
}

/// Flushes the names in a directory.
pub async fn sync_directory(directory: &Path) -> io::Result<()> {
    sync(directory).await
}

/// Gives a finished directory its name. Another process may have been quicker: its copy is as good.
pub async fn put_in_place(finished: TempDir, name: &Path) -> io::Result<()> {
    match fs::rename(finished.path(), name).await {
        Ok(()) => {
            // It has another name now: there is nothing to remove.
            let _ = finished.keep();
            sync_directory(name.parent().unwrap_or(name)).await
        }
        Err(_) if name.exists() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a path stays inside of a directory when symbolic links are followed; so does one that is
/// not there.
pub async fn is_inside(path: &Path, directory: &Path) -> io::Result<bool> {
    let (path, directory) = match (fs::canonicalize(path).await, fs::canonicalize(directory).await) {
        (Ok(path), Ok(directory)) => (path, directory),
        (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    Ok(path.starts_with(directory))
}

/// Removes an empty directory, if it is there.
pub async fn remove_directory(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes a directory with what is in it, if it is there. It is gone under its name at once:
/// nobody takes half of it for the whole.
pub async fn remove(directory: &Path, beside: &Path) -> io::Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    let grave = tempfile::Builder::new().prefix(".removing-").tempdir_in(beside)?;
    match fs::rename(directory, grave.path().join("removed")).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => grave.close(),
    }
}
