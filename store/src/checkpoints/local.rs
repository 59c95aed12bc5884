//! Files that are on the disk when we say so.

use std::io;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::fs;

/// How directories begin that are being filled.
pub const FETCHING: &str = ".fetching-";
/// And those that are being removed.
const REMOVING: &str = ".removing-";
/// Nothing is fetched for so long.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

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

/// Removes what processes that were killed have left in a cache: what they had begun to fetch, or to
/// remove, a day ago or earlier.
pub async fn remove_leftovers(cache: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(cache).await?;
    while let Some(entry) = entries.next_entry().await? {
        let name = entry.file_name();
        let is_ours = [FETCHING, REMOVING].iter().any(|prefix| name.to_string_lossy().starts_with(prefix));
        let age = entry.metadata().await.and_then(|metadata| metadata.modified());
        let is_old = age.is_ok_and(|since| since.elapsed().is_ok_and(|age| age > ABANDONED));
        if is_ours && is_old {
            // Another process may be quicker.
            let _ = fs::remove_dir_all(entry.path()).await;
        }
    }
    Ok(())
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
    let grave = tempfile::Builder::new().prefix(REMOVING).tempdir_in(beside)?;
    match fs::rename(directory, grave.path().join("removed")).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => grave.close(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[tokio::test]
    async fn what_killed_processes_have_left_is_removed_after_a_day_and_nothing_else() {
        let cache = tempfile::tempdir().unwrap();
        let long_ago = SystemTime::now() - 2 * ABANDONED;
        for (name, modified) in [
            (".fetching-old", long_ago),
            (".removing-old", long_ago),
            (".fetching-new", SystemTime::now()),
            ("0123456789abcdef", long_ago),
        ] {
            let directory = cache.path().join(name);
            std::fs::create_dir_all(directory.join("some")).unwrap();
            std::fs::File::open(&directory).unwrap().set_modified(modified).unwrap();
        }
        remove_leftovers(cache.path()).await.unwrap();
        let left =
            std::fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<String> = left.collect();
        left.sort();
        assert_eq!(left, [".fetching-new", "0123456789abcdef"]);
    }
}
