#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A directory as the classifier writes it, as far as the store looks.
fn checkpoint(files: &[(&str, &[u8])]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
        names.push(serde_json::json!({ "name": name }));
    }
    let manifest = serde_json::json!({ "files": names, "round": 7 }).to_string();
    fs::write(directory.path().join(MANIFEST), manifest).unwrap();
    directory
}

fn small() -> TempDir {
    checkpoint(&[("config.json", b"{}"), ("model.safetensors", &[7; 300_000])])
}

fn contents(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut contents: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    contents.sort();
    contents
}

#[tokio::test]
async fn a_published_checkpoint_is_fetched_as_it_was() {
    let (checkpoint, place, cache) = (small(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // A path, and the URL of it, are the same store; names that a URL must escape among them.
    let place = place.path().join("模型 store #1%20");
    let by_path = CheckpointStore::open(place.to_str().unwrap()).unwrap();
    let by_url = CheckpointStore::open(Url::from_directory_path(&place).unwrap().as_str()).unwrap();
    let uri = by_path.publish(checkpoint.path()).await.unwrap();
    let manifest = fs::read(checkpoint.path().join(MANIFEST)).unwrap();
    assert!(uri.starts_with("file:///") && uri.ends_with(&hex::encode(Sha256::digest(manifest))), "{uri}");
    assert_eq!(by_url.publish(checkpoint.path()).await.unwrap(), uri);

    let fetched = by_url.fetch(&uri, &cache.path().join("new")).await.unwrap();
    assert_eq!(contents(&fetched), contents(checkpoint.path()));
}

#[tokio::test]
async fn a_checkpoint_in_the_cache_is_not_fetched_again() {
    let (checkpoint, place, cache) = (small(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = CheckpointStore::open(place.path().to_str().unwrap()).unwrap();
    let uri = store.publish(checkpoint.path()).await.unwrap();
    let fetched = store.fetch(&uri, cache.path()).await.unwrap();
    fs::remove_dir_all(place.path()).unwrap();
    assert_eq!(store.fetch(&uri, cache.path()).await.unwrap(), fetched);
}

#[tokio::test]
async fn a_store_that_was_mounted_elsewhere_is_the_same_store() {
    let (checkpoint, place, cache) = (small(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let here = place.path().join("here");
    let uri = CheckpointStore::open(here.to_str().unwrap()).unwrap().publish(checkpoint.path()).await.unwrap();
    let there = place.path().join("there");
    fs::rename(&here, &there).unwrap();
    let store = CheckpointStore::open(there.to_str().unwrap()).unwrap();
    let fetched = store.fetch(&uri, cache.path()).await.unwrap();
    assert_eq!(contents(&fetched), contents(checkpoint.path()));
}

#[tokio::test]
async fn a_checkpoint_without_its_manifest_is_not_there_yet_and_publishing_again_completes_it() {
    let (checkpoint, place, cache) = (small(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = CheckpointStore::open(place.path().to_str().unwrap()).unwrap();
    let uri = store.publish(checkpoint.path()).await.unwrap();
    let published = place.path().join(name_of(&uri).unwrap());
    fs::remove_file(published.join(MANIFEST)).unwrap();
    fs::write(published.join("model.safetensors"), b"half").unwrap();

    let error = store.fetch(&uri, cache.path()).await.unwrap_err();
    assert!(matches!(error, CheckpointStoreError::NotFound(_)) && !error.is_transient(), "{error}");
    store.publish(checkpoint.path()).await.unwrap();
    let fetched = store.fetch(&uri, cache.path()).await.unwrap();
    assert_eq!(contents(&fetched), contents(checkpoint.path()));
}

#[tokio::test]
async fn a_fetch_that_fails_leaves_nothing_behind() {
    let (checkpoint, place, cache) = (small(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = CheckpointStore::open(place.path().to_str().unwrap()).unwrap();
    let uri = store.publish(checkpoint.path()).await.unwrap();
    fs::remove_file(place.path().join(name_of(&uri).unwrap()).join("model.safetensors")).unwrap();
    let error = store.fetch(&uri, cache.path()).await.unwrap_err();
    assert!(error.to_string().contains("model.safetensors") && !error.is_transient(), "{error}");
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn many_may_fetch_at_once() {
    let (checkpoint, place, cache) = (small(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = CheckpointStore::open(place.path().to_str().unwrap()).unwrap();
    let uri = store.publish(checkpoint.path()).await.unwrap();
    let all = futures::future::join_all((0..8).map(|_| store.fetch(&uri, cache.path()))).await;
    for fetched in all {
        assert_eq!(contents(&fetched.unwrap()), contents(checkpoint.path()));
    }
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_manifest_cannot_name_a_file_elsewhere() {
    for name in ["../evil", "/etc/evil", "a/b", "..", ".", ""] {
        let error = files::listed(format!(r#"{{"files": [{{"name": "{name}"}}]}}"#).as_bytes()).unwrap_err();
        assert!(error.contains("not a plain file name"), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_checkpoint_is_said_to_be_none() {
    let place = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(place.path().to_str().unwrap()).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let error = store.publish(empty.path()).await.unwrap_err();
    assert!(error.to_string().contains("is not a checkpoint: manifest.json"), "{error}");

    let incomplete = small();
    fs::remove_file(incomplete.path().join("config.json")).unwrap();
    let error = store.publish(incomplete.path()).await.unwrap_err();
    assert!(error.to_string().contains("is not a checkpoint: config.json"), "{error}");

    let error = store.fetch("file:///somewhere/else", place.path()).await.unwrap_err();
    assert!(matches!(error, CheckpointStoreError::Address { .. }), "{error}");
}

#[test]
fn an_address_that_this_build_does_not_know_is_refused_at_once() {
    for url in ["ftp://host/directory", "file://host/directory", "://"] {
        let error = CheckpointStore::open(url).unwrap_err();
        assert!(matches!(error, CheckpointStoreError::Address { .. }) && !error.is_transient(), "{error}");
    }
}

#[tokio::test]
async fn a_checkpoint_that_the_cache_has_forgotten_is_fetched_again() {
    let (checkpoint, place, cache) = (small(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = CheckpointStore::open(place.path().to_str().unwrap()).unwrap();
    let uri = store.publish(checkpoint.path()).await.unwrap();
    store.forget(&uri, cache.path()).await.unwrap();
    let fetched = store.fetch(&uri, cache.path()).await.unwrap();
    fs::write(fetched.join("config.json"), "damaged").unwrap();
    store.forget(&uri, cache.path()).await.unwrap();
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    let fetched = store.fetch(&uri, cache.path()).await.unwrap();
    assert_eq!(contents(&fetched), contents(checkpoint.path()));
}

#[tokio::test]
async fn a_deleted_checkpoint_is_gone_and_its_neighbours_are_not() {
    let (place, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (small(), checkpoint(&[("config.json", b"other")]));
    let store = CheckpointStore::open(place.path().to_str().unwrap()).unwrap();
    let uri = store.publish(one.path()).await.unwrap();
    let kept = store.publish(other.path()).await.unwrap();
    for _ in 0..2 {
        store.delete(&uri).await.unwrap();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
    let error = store.fetch(&uri, cache.path()).await.unwrap_err();
    assert!(matches!(error, CheckpointStoreError::NotFound(_)), "{error}");
    store.fetch(&kept, cache.path()).await.unwrap();
    assert_eq!(store.publish(one.path()).await.unwrap(), uri);
    store.fetch(&uri, cache.path()).await.unwrap();
}

#[tokio::test]
async fn a_symbolic_link_out_of_the_store_is_not_followed() {
    let (checkpoint, place, cache) = (small(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    let secret = elsewhere.path().join("secret");
    fs::write(&secret, "of somebody else").unwrap();
    let store = CheckpointStore::open(place.path().to_str().unwrap()).unwrap();
    let uri = store.publish(checkpoint.path()).await.unwrap();
    let published = place.path().join(name_of(&uri).unwrap());
    fs::remove_file(published.join("config.json")).unwrap();
    std::os::unix::fs::symlink(&secret, published.join("config.json")).unwrap();
    let error = store.fetch(&uri, cache.path()).await.unwrap_err();
    assert!(matches!(error, CheckpointStoreError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("symbolic link"), "{error}");
    assert!(contents(cache.path()).is_empty());

    // The directory itself: nothing is read, written or deleted through it.
    fs::remove_dir_all(&published).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), &published).unwrap();
    store.fetch(&uri, cache.path()).await.unwrap_err();
    store.publish(checkpoint.path()).await.unwrap_err();
    store.delete(&uri).await.unwrap_err();
    assert_eq!(contents(elsewhere.path()), [("secret".to_owned(), b"of somebody else".to_vec())]);

    // One that stays inside is as good as the file.
    fs::remove_file(&published).unwrap();
    store.publish(checkpoint.path()).await.unwrap();
    fs::rename(published.join("config.json"), place.path().join("shared.json")).unwrap();
    std::os::unix::fs::symlink("../shared.json", published.join("config.json")).unwrap();
    store.fetch(&uri, cache.path()).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_larger_than_its_manifest_says_is_not_downloaded_to_its_end() {
    let (checkpoint, place, cache) = (small(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let manifest = serde_json::json!({ "files": [{ "name": "config.json", "size": 2 }] }).to_string();
    fs::write(checkpoint.path().join(MANIFEST), manifest).unwrap();
    let store = CheckpointStore::open(place.path().to_str().unwrap()).unwrap();
    let uri = store.publish(checkpoint.path()).await.unwrap();
    let file = place.path().join(name_of(&uri).unwrap()).join("config.json");
    // More than there is room for, were it copied; on the disk it takes nothing.
    fs::File::options().write(true).open(&file).unwrap().set_len(1 << 38).unwrap();
    let error = store.fetch(&uri, cache.path()).await.unwrap_err();
    assert!(error.to_string().contains("larger than the 2 bytes"), "{error}");
    assert!(contents(cache.path()).is_empty());
    fs::write(&file, "{}").unwrap();
    store.fetch(&uri, cache.path()).await.unwrap();
}
