//! Behind a real PgBouncer: what works goes on, and what cannot work is refused and says why.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use store::{NextOffset, Outcome, Store, StoreError};
use tempfile::TempDir;

use crate::{SERVER, empty_database, predictions, reviews};

struct Bouncer {
    process: Child,
    port: u16,
    _files: TempDir,
}

impl Bouncer {
    /// With these settings; nothing where this machine has none.
    fn start(settings: &str) -> Option<Self> {
        let server: url::Url = SERVER.url("postgres").parse().unwrap();
        let files = tempfile::tempdir().unwrap();
        let port = stack::free_port().unwrap();
        let (host, server_port) = (server.host_str().unwrap(), server.port().unwrap());
        let (user, password) = (server.username(), server.password().unwrap());
        let configuration = format!(
            "[databases]\n* = host={host} port={server_port} user={user} password={password}\n[pgbouncer]\n\
            listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\nunix_socket_dir =\n{settings}\n"
        );
        let file = files.path().join("pgbouncer.ini");
        fs::write(&file, configuration).unwrap();
        // It runs as another user where this one is root.
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new("pgbouncer");
        if nix_is_root() {
            command.args(["-u", "postgres"]);
        }
        match command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(process) => {
                let bouncer = Self { process, port, _files: files };
                for _ in 0..200 {
                    if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                        return Some(bouncer);
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                panic!("pgbouncer does not listen");
            }
            Err(error) => {
                stack::not_run(format!("there is no pgbouncer to test with: {error}"));
                None
            }
        }
    }

    fn url(&self, database: &str) -> String {
        let mut url: url::Url = database.parse().unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.to_string()
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn nix_is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// As it comes, PgBouncer takes none of our settings along.
#[tokio::test]
async fn a_pool_of_sessions_works_with_every_limit_of_time() {
    for settings in
        ["pool_mode = session", "pool_mode = session\nignore_startup_parameters = options,extra_float_digits"]
    {
        let Some(bouncer) = Bouncer::start(settings) else { return };
        let direct = empty_database();
        let store = Store::connect(&bouncer.url(&direct), 2).await.unwrap();
        assert!(store.has_pooler());
        store.migrate().await.unwrap();
        let mut listener = store.listen().await.unwrap();
        let claim = store.claim(reviews(), 0, "a", NextOffset(0)).await.unwrap();
        assert_eq!(store.write(reviews(), &predictions(&claim, 3)).await.unwrap(), Outcome::Written);
        let mut look = <sqlx::PgConnection as sqlx::Connection>::connect(&direct).await.unwrap();
        sqlx::raw_sql("notify labelstream_models").execute(&mut look).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), listener.next()).await.unwrap().unwrap();
        // Somebody holds the lock: the limit that was set after connecting ends the wait for it.
        let mut transaction = sqlx::Connection::begin(&mut look).await.unwrap();
        sqlx::raw_sql("lock table position_rows").execute(&mut *transaction).await.unwrap();
        let error = store.record_halt(reviews(), 0, claim.epoch, Some("why")).await.unwrap_err();
        assert!(error.to_string().contains("lock timeout"), "{error}");
    }
}

#[tokio::test]
async fn a_pool_of_transactions_is_refused_with_what_to_do() {
    for settings in [
        "pool_mode = transaction",
        "pool_mode = transaction\nignore_startup_parameters = options,extra_float_digits",
        "pool_mode = statement",
    ] {
        let Some(bouncer) = Bouncer::start(settings) else { return };
        let error = Store::connect(&bouncer.url(&empty_database()), 2).await.unwrap_err();
        assert!(matches!(error, StoreError::Pooled(_)) && !error.is_transient(), "{settings}: {error}");
        assert!(error.to_string().contains("pool_mode = session"), "{error}");
    }
}
