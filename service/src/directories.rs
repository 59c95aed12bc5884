//! The flags of the checkpoint store, and the directories that programs use where none is named.
//!
//! What is kept in them is served to people or trained on, so they are the user's own: in the
//! user's cache directory, closed to everybody else, and never behind a link that others could
//! have laid.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use store::checkpoints::CheckpointStore;

/// Where checkpoints are kept.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct CheckpointArguments {
    /// Checkpoint store: a file:// or s3:// URL (the latter with the AWS_ environment variables),
    /// or a path
    #[arg(id = "checkpoints", long = "checkpoints", env = "LABELSTREAM_CHECKPOINTS", value_name = "URL")]
    pub url: String,
}

impl CheckpointArguments {
    /// The store.
    ///
    /// # Errors
    /// A URL that cannot be used, or that holds credentials, which would be seen wherever it is.
    pub fn open(&self) -> Result<CheckpointStore> {
        let authority = self.url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
        ensure!(
            !authority.contains('@'),
            "the URL of the checkpoint store holds credentials: give them in AWS_ variables"
        );
        Ok(CheckpointStore::open(&self.url)?)
    }
}

/// Where fetched checkpoints are kept on this machine.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct CacheArguments {
    /// Directory for checkpoints fetched from the store [default: labelstream/checkpoints in the
    /// user's cache directory]
    #[arg(id = "cache", long = "cache", env = "LABELSTREAM_CACHE", value_name = "DIRECTORY")]
    pub directory: Option<PathBuf>,
}

impl CacheArguments {
    /// The directory, made if it is not there.
    ///
    /// # Errors
    /// One that cannot be made; a usual one that is not the user's alone.
    pub fn path(&self) -> Result<PathBuf> {
        named_or_usual(self.directory.as_deref(), "checkpoints", "--cache")
    }
}

/// The trainer's directory, for the state of a running round and for fetched checkpoints: the named
/// one, else the usual one.
///
/// # Errors
/// As [`CacheArguments::path`].
pub fn work(named: Option<&Path>) -> Result<PathBuf> {
    named_or_usual(named, "trainer", "--work")
}

/// The directory for what pretrained encoders make of texts.
///
/// # Errors
/// As [`CacheArguments::path`].
pub fn embeddings() -> Result<PathBuf> {
    named_or_usual(None, "embeddings", "XDG_CACHE_HOME")
}

/// The free and all bytes of the disk that a directory is on, or will be.
///
/// # Errors
/// A disk that does not say.
pub fn space(directory: &Path) -> std::io::Result<(u64, u64)> {
    let existing = directory.ancestors().find(|directory| directory.exists()).unwrap_or(directory);
    let disk = rustix::fs::statvfs(existing)?;
    Ok((disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize))
}

fn named_or_usual(named: Option<&Path>, name: &str, flag: &str) -> Result<PathBuf> {
    let Some(named) = named else {
        let directory = user_cache().with_context(|| format!("name a directory with {flag}"))?.join("labelstream");
        make(&directory).and_then(|()| refuse_foreign(&directory))?;
        let directory = directory.join(name);
        make(&directory)
            .and_then(|()| close_to_others(&directory))
            .with_context(|| format!("name another with {flag}"))?;
        return Ok(directory);
    };
    make(named)?;
    let mode = fs::metadata(named).with_context(|| named.display().to_string())?.mode();
    // Volumes of containers are like this: it is for the person who names it to say whom they trust.
    if mode & 0o002 != 0 {
        tracing::warn!(directory = %named.display(), "everybody on this machine may write into the directory of {flag}");
    }
    Ok(named.to_owned())
}

/// `XDG_CACHE_HOME`, or `.cache` at home.
fn user_cache() -> Result<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|directory| directory.is_absolute());
    let at_home = || std::env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(".cache"));
    match named.or_else(at_home) {
        Some(directory) => Ok(directory),
        None => bail!("neither HOME nor XDG_CACHE_HOME says where this user's files are"),
    }
}

fn make(directory: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("the directory {} cannot be made", directory.display()))
}

/// Somebody else may have been here first, with a link or a directory of his own.
fn refuse_foreign(directory: &Path) -> Result<()> {
    let shown = directory.display();
    let found = fs::symlink_metadata(directory).with_context(|| shown.to_string())?;
    ensure!(found.is_dir(), "{shown} is a link to another place, and is not followed");
    let user = rustix::process::geteuid().as_raw();
    ensure!(found.uid() == user, "{shown} belongs to user {}, not to this one ({user})", found.uid());
    ensure!(found.mode() & 0o022 == 0, "others may write into {shown}: chmod go-w {shown}");
    Ok(())
}

fn close_to_others(directory: &Path) -> Result<()> {
    refuse_foreign(directory)?;
    let open = fs::metadata(directory)?.mode() & 0o077 != 0;
    if open {
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(directory: &Path) -> u32 {
        fs::metadata(directory).unwrap().mode() & 0o777
    }

    #[test]
    fn a_directory_of_ones_own_is_closed_to_others_and_one_laid_by_others_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let own = place.path().join("own");
        make(&own).and_then(|()| close_to_others(&own)).unwrap();
        assert_eq!(mode(&own), 0o700);
        fs::set_permissions(&own, Permissions::from_mode(0o755)).unwrap();
        close_to_others(&own).unwrap();
        assert_eq!(mode(&own), 0o700);
        fs::set_permissions(&own, Permissions::from_mode(0o777)).unwrap();
        assert!(close_to_others(&own).unwrap_err().to_string().contains("others may write"));

        let laid = place.path().join("laid");
        symlink(&own, &laid).unwrap();
        assert!(close_to_others(&laid).unwrap_err().to_string().contains("is a link"));

        let foreign = place.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&foreign, Some(65_534), None).unwrap();
            assert!(close_to_others(&foreign).unwrap_err().to_string().contains("belongs to user 65534"));
        }
    }

    #[test]
    fn a_named_directory_is_made_for_the_user_alone_and_taken_as_it_is_where_it_exists() {
        let place = tempfile::tempdir().unwrap();
        let named = place.path().join("a/b");
        let arguments = CacheArguments { directory: Some(named.clone()) };
        assert_eq!(arguments.path().unwrap(), named);
        assert_eq!(mode(&named), 0o700);
        fs::set_permissions(&named, Permissions::from_mode(0o777)).unwrap();
        assert_eq!(arguments.path().unwrap(), named);
    }

    #[test]
    fn a_url_with_credentials_is_refused_and_not_shown() {
        let error = CheckpointArguments { url: "s3://key:hunter2@bucket/x".to_owned() }.open().err().unwrap();
        assert!(error.to_string().contains("credentials") && !error.to_string().contains("hunter2"));
    }
}
