//! The checkpoint store against a real S3 server, over HTTP.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use sha2::{Digest, Sha256};
use store::checkpoints::{CheckpointStore, CheckpointStoreError};
use tempfile::TempDir;
use tokio::net::TcpListener;

const BUCKET: &str = "models";

/// A server whose objects are files below a directory of its own.
struct Server {
    files: TempDir,
    endpoint: String,
}

impl Server {
    async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        fs::create_dir(files.path().join(BUCKET)).unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(files.path()).unwrap());
        service.set_auth(SimpleAuth::from_single("key", "secret"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, service.build()));
        Self { files, endpoint }
    }

    /// A store in its bucket, opened with this secret.
    fn store(&self, secret: &str) -> CheckpointStore {
        let options = [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", secret),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT", &self.endpoint),
            ("AWS_ALLOW_HTTP", "true"),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        CheckpointStore::open_with(&format!("s3://{BUCKET}/reviews"), options).unwrap()
    }

    /// The names below the store's prefix.
    fn published(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.files.path().join(BUCKET).join("reviews")) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap());
        let filled = names.filter(|entry| fs::read_dir(entry.path()).unwrap().count() > 0);
        filled.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    while let Ok((socket, _)) = listener.accept().await {
        let connection = service.clone();
        tokio::spawn(async move {
            // A client that hangs up is no fault of the server's.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), connection).await;
        });
    }
}

/// A directory as the classifier writes it, as far as the store looks.
fn checkpoint(weights: &[u8]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.json"), "{}").unwrap();
    fs::write(directory.path().join("model.safetensors"), weights).unwrap();
    let manifest = serde_json::json!({"files": [{"name": "config.json"}, {"name": "model.safetensors"}]});
    fs::write(directory.path().join("manifest.json"), manifest.to_string()).unwrap();
    directory
}

fn assert_same(one: &Path, other: &Path) {
    for file in ["config.json", "model.safetensors", "manifest.json"] {
        assert!(fs::read(one.join(file)).unwrap() == fs::read(other.join(file)).unwrap(), "{file} differs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_many_parts_goes_to_a_bucket_and_comes_back_as_it_was() {
    let (server, cache) = (Server::start().await, tempfile::tempdir().unwrap());
    // More than one part of an upload.
    let weights: Vec<u8> = (0..23_000_000_u32).map(|byte| (byte / 7) as u8).collect();
    let directory = checkpoint(&weights);
    let store = server.store("secret");
    store.try_writing().await.unwrap();
    let uri = store.publish(directory.path()).await.unwrap();
    let name = hex::encode(Sha256::digest(fs::read(directory.path().join("manifest.json")).unwrap()));
    assert_eq!(uri, format!("s3://{BUCKET}/reviews/{name}"));
    assert_eq!(store.publish(directory.path()).await.unwrap(), uri, "publishing again changes nothing");
    assert_eq!(server.published(), [name]);

    let fetched = server.store("secret").fetch(&uri, cache.path()).await.unwrap();
    assert_same(&fetched, directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_deleted_from_a_bucket_is_gone_and_its_neighbour_is_not() {
    let (server, cache) = (Server::start().await, tempfile::tempdir().unwrap());
    let (one, other) = (checkpoint(b"one"), checkpoint(b"other"));
    // The manifests must differ for the checkpoints to be two.
    fs::write(other.path().join("manifest.json"), r#"{"files": [{"name": "model.safetensors"}]}"#).unwrap();
    let store = server.store("secret");
    let uri = store.publish(one.path()).await.unwrap();
    let kept = store.publish(other.path()).await.unwrap();
    for _ in 0..2 {
        store.delete(&uri).await.unwrap();
    }
    let error = store.fetch(&uri, cache.path()).await.unwrap_err();
    assert!(matches!(error, CheckpointStoreError::NotFound(_)) && !error.is_transient(), "{error}");
    let fetched = store.fetch(&kept, cache.path()).await.unwrap();
    assert_eq!(fs::read(fetched.join("model.safetensors")).unwrap(), b"other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_refused_and_not_told() {
    let server = Server::start().await;
    let error = server.store("a-wrong-secret").publish(checkpoint(b"weights").path()).await.unwrap_err();
    assert!(matches!(error, CheckpointStoreError::Refused { .. }) && !error.is_transient(), "{error}");
    assert!(!error.to_string().contains("a-wrong-secret"), "{error}");
    assert!(server.published().is_empty());
}
