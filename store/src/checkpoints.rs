//! The checkpoint store: immutable directories behind a URL, named by the SHA-256 of their
//! `manifest.json`.

mod error;
mod files;
mod local;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::buffered::BufWriter;
use object_store::path::Path as Location;
use object_store::{ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use url::Url;

pub use error::CheckpointStoreError;
use files::{Listed, listed};

/// Written last, so that where it stands the rest is complete.
const MANIFEST: &str = "manifest.json";

/// Bytes of a manifest at most: it has a line for each of a few files, and what was measured.
const LARGEST_MANIFEST: u64 = 16 << 20;

/// Where checkpoints are kept: `file:///directory`, a plain path, or `s3://bucket/prefix`.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    objects: Arc<dyn ObjectStore>,
    /// Without a slash at its end.
    url: String,
    /// What the locations of all objects begin with.
    prefix: Location,
    /// Where that is on this machine, if it is.
    directory: Option<PathBuf>,
}

impl CheckpointStore {
    /// Opens the store at a URL or path; touches nothing yet. Of an `s3://` URL the credentials,
    /// region and endpoint are those of the cloud's own environment variables, such as
    /// `AWS_ACCESS_KEY_ID` and `AWS_ENDPOINT`.
    pub fn open(url: &str) -> Result<Self, CheckpointStoreError> {
        Self::open_with(url, std::env::vars().filter(|(name, _)| name.starts_with("AWS_")))
    }

    /// The same with options by the names of those variables, in place of the environment.
    pub fn open_with(
        url: &str,
        options: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, CheckpointStoreError> {
        let unusable = |why: String| CheckpointStoreError::Address { url: url.to_owned(), why };
        let parsed = if url.contains("://") {
            Url::parse(url).map_err(|why| unusable(why.to_string()))?
        } else {
            let path = std::path::absolute(url).map_err(|why| unusable(why.to_string()))?;
            Url::from_directory_path(path).map_err(|()| unusable("it is not a path".to_owned()))?
        };
        // Once a process; whoever was first has chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (objects, prefix) =
            object_store::parse_url_opts(&parsed, options).map_err(|why| unusable(why.to_string()))?;
        let directory = if parsed.scheme() == "file" {
            Some(parsed.to_file_path().map_err(|()| unusable("it is not a path on this machine".to_owned()))?)
        } else {
            None
        };
        Ok(Self { objects: objects.into(), url: parsed.as_str().trim_end_matches('/').to_owned(), prefix, directory })
    }

    /// Copies a checkpoint directory into the store and returns the URI to register. Publishing the
    /// same directory again changes nothing.
    pub async fn publish(&self, directory: &Path) -> Result<String, CheckpointStoreError> {
        let not_a_checkpoint =
            |why: String| CheckpointStoreError::NotACheckpoint { checkpoint: directory.display().to_string(), why };
        let manifest = tokio::fs::read(directory.join(MANIFEST))
            .await
            .map_err(|why| not_a_checkpoint(format!("{MANIFEST}: {why}")))?;
        let files = listed(&manifest).map_err(not_a_checkpoint)?;
        let files: Vec<String> = files.into_iter().map(|file| file.name).collect();
        let name = hex::encode(Sha256::digest(&manifest));
        let uri = format!("{}/{name}", self.url);
        let failed = |why| CheckpointStoreError::from_store(&uri, why);
        self.check_inside(&name, "").await?;

        match self.objects.head(&self.location(&name, MANIFEST)).await {
            Ok(_) => return Ok(uri),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
        for file in &files {
            let mut from = tokio::fs::File::open(directory.join(file))
                .await
                .map_err(|why| not_a_checkpoint(format!("{file}: {why}")))?;
            let mut to = BufWriter::new(self.objects.clone(), self.location(&name, file));
            let failed = |why| CheckpointStoreError::failed(format!("publishing {file} to {uri}"), why);
            tokio::io::copy(&mut from, &mut to).await.map_err(failed)?;
            to.shutdown().await.map_err(failed)?;
        }
        self.persist(&name, &files).await?;
        self.objects.put(&self.location(&name, MANIFEST), manifest.into()).await.map_err(failed)?;
        self.persist(&name, &[MANIFEST.to_owned()]).await?;
        Ok(uri)
    }

    /// Copies the checkpoint registered as `uri` to a directory below `cache` and returns it; one
    /// that is there already is not copied again. A half copy never stands under the returned name.
    /// The hashes are the caller's to verify.
    ///
    /// It is looked up in this store by the last part of `uri`, its hash: the store may be mounted
    /// elsewhere than where it was published, and a row in a table cannot make anybody read from
    /// anywhere else.
    pub async fn fetch(&self, uri: &str, cache: &Path) -> Result<PathBuf, CheckpointStoreError> {
        let name = name_of(uri)?;
        let finished = cache.join(name);
        if finished.join(MANIFEST).exists() {
            return Ok(finished);
        }
        let in_cache = |why| CheckpointStoreError::failed(format!("writing to the cache {}", cache.display()), why);
        tokio::fs::create_dir_all(cache).await.map_err(in_cache)?;
        local::remove_leftovers(cache).await.map_err(in_cache)?;
        let unfinished = tempfile::Builder::new().prefix(local::FETCHING).tempdir_in(cache).map_err(in_cache)?;

        let manifest = Listed { name: MANIFEST.to_owned(), size: Some(LARGEST_MANIFEST) };
        let manifest = self.download(name, &manifest, unfinished.path()).await?;
        let files = tokio::fs::read(&manifest).await.map_err(in_cache)?;
        let files =
            listed(&files).map_err(|why| CheckpointStoreError::NotACheckpoint { checkpoint: uri.to_owned(), why })?;
        for file in &files {
            self.download(name, file, unfinished.path()).await?;
        }
        local::sync_directory(unfinished.path()).await.map_err(in_cache)?;
        local::put_in_place(unfinished, &finished).await.map_err(in_cache)?;
        Ok(finished)
    }

    /// Removes what [`fetch`](Self::fetch) has left in `cache` of a checkpoint, so that it is
    /// fetched again.
    pub async fn forget(&self, uri: &str, cache: &Path) -> Result<(), CheckpointStoreError> {
        let fetched = cache.join(name_of(uri)?);
        let failed = |why| CheckpointStoreError::failed(format!("removing {} from the cache", fetched.display()), why);
        local::remove(&fetched, cache).await.map_err(failed)
    }

    /// Deletes the checkpoint registered as `uri`, its manifest first, so that what is half deleted
    /// is not there. One that is gone already is no error.
    pub async fn delete(&self, uri: &str) -> Result<(), CheckpointStoreError> {
        let name = name_of(uri)?;
        self.check_inside(name, "").await?;
        let failed = |why| CheckpointStoreError::from_store(uri, why);
        let files = self.objects.list(Some(&self.prefix.clone().join(name))).map_ok(|file| file.location);
        let files: Vec<Location> = files.try_collect().await.map_err(failed)?;
        for file in std::iter::once(self.location(name, MANIFEST)).chain(files) {
            match self.objects.delete(&file).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        if let Some(directory) = &self.directory {
            local::remove_directory(&directory.join(name))
                .await
                .map_err(|why| CheckpointStoreError::failed(format!("deleting {uri}"), why))?;
        }
        Ok(())
    }

    /// Writes a small object and deletes it again: whether somebody who publishes here may.
    pub async fn try_writing(&self) -> Result<(), CheckpointStoreError> {
        let failed = |why| CheckpointStoreError::from_store(&self.url, why);
        let trial = self.location("trial", &format!("{}.txt", std::process::id()));
        self.objects.put(&trial, "may be deleted".into()).await.map_err(failed)?;
        self.objects.delete(&trial).await.map_err(failed)
    }

    /// Copies a file, and no byte more than its manifest says.
    async fn download(&self, name: &str, file: &Listed, directory: &Path) -> Result<PathBuf, CheckpointStoreError> {
        let address = format!("{}/{name}/{}", self.url, file.name);
        let failed = |why| CheckpointStoreError::from_store(&address, why);
        let path = directory.join(&file.name);
        let in_cache = |why| CheckpointStoreError::failed(format!("writing {}", path.display()), why);
        self.check_inside(name, &file.name).await?;

        let mut from = self.objects.get(&self.location(name, &file.name)).await.map_err(failed)?.into_stream();
        let mut to = tokio::fs::File::create(&path).await.map_err(in_cache)?;
        let mut left = file.size.unwrap_or(u64::MAX);
        while let Some(bytes) = from.try_next().await.map_err(failed)? {
            left = left.checked_sub(bytes.len() as u64).ok_or_else(|| CheckpointStoreError::NotACheckpoint {
                checkpoint: address.clone(),
                why: format!("it is larger than the {} bytes that it may have", file.size.unwrap_or(u64::MAX)),
            })?;
            to.write_all(&bytes).await.map_err(in_cache)?;
        }
        // A write that failed in the background is told here, and nowhere else.
        to.flush().await.map_err(in_cache)?;
        to.sync_all().await.map_err(in_cache)?;
        Ok(path)
    }

    /// On this machine's disks: that no symbolic link leads out of the store, to somebody's other
    /// files. What is not there leads nowhere.
    async fn check_inside(&self, name: &str, file: &str) -> Result<(), CheckpointStoreError> {
        let Some(store) = &self.directory else { return Ok(()) };
        let path = store.join(name).join(file);
        match local::is_inside(&path, store).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(CheckpointStoreError::Refused {
                what: format!("access to {}", path.display()),
                why: "a symbolic link leads out of the checkpoint store".to_owned(),
            }),
            Err(why) => Err(CheckpointStoreError::failed(format!("access to {}", path.display()), why)),
        }
    }

    /// On this machine's disks, sees to it that what was published survives a power cut; other
    /// stores do that themselves.
    async fn persist(&self, name: &str, files: &[String]) -> Result<(), CheckpointStoreError> {
        let Some(directory) = self.directory.as_ref().map(|store| store.join(name)) else {
            return Ok(());
        };
        let failed = |why| CheckpointStoreError::failed(format!("flushing {}", directory.display()), why);
        for file in files {
            local::sync(&directory.join(file)).await.map_err(failed)?;
        }
        local::sync_directory(&directory).await.map_err(failed)
    }

    fn location(&self, name: &str, file: &str) -> Location {
        self.prefix.clone().join(name).join(file)
    }
}

/// The hash at the end of a URI.
fn name_of(uri: &str) -> Result<&str, CheckpointStoreError> {
    let name = uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let is_hash = name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match is_hash {
        true => Ok(name),
        false => Err(CheckpointStoreError::Address {
            url: uri.to_owned(),
            why: "it does not end in the hash of a checkpoint".to_owned(),
        }),
    }
}
