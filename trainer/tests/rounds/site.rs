//! A place of its own for each test: a database, a checkpoint store, trainers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use classifier::checkpoint::Manifest;
use sqlx::PgPool;
use store::Store;
use tempfile::TempDir;
use trainer::{Base, Dataset, Hyperparameters, Row, RunOptions, Settings};

/// How long anything may take that takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ends with the test process.
static SERVER: LazyLock<stack::Postgres> = LazyLock::new(|| stack::Postgres::start().expect("a private Postgres"));

pub struct Site {
    pub pool: PgPool,
    pub store: Store,
    pub files: TempDir,
    database: String,
}

/// What is in the registry and in the checkpoint store.
#[derive(Debug, PartialEq)]
pub struct Registry {
    /// The versions that ever served, oldest first.
    pub champions: Vec<i64>,
    pub models: i64,
    pub verdicts: Vec<Option<String>>,
}

impl Site {
    pub async fn new() -> Self {
        Self::on(&SERVER).await
    }

    /// The same on a server of its own, which the test may stop.
    pub async fn on(server: &stack::Postgres) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("rounds_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let database = server.create_database(&name).unwrap();
        let store = Store::connect(&database, 4).await.unwrap();
        store.migrate().await.unwrap();
        let pool = PgPool::connect(&database).await.unwrap();
        Self { pool, store, files: tempfile::tempdir().unwrap(), database }
    }

    /// Inserts labels of the demo's reviews, as a person would.
    pub async fn label(&self, reviews: std::ops::Range<usize>) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/demo/reviews.csv");
        let rows = trainer::labeled_rows::read(&file, &trainer::Columns::default()).unwrap();
        let rows = &rows[reviews];
        let (labels, texts): (Vec<_>, Vec<_>) = rows.iter().map(|row| (row.label.clone(), row.text.clone())).unzip();
        sqlx::query("insert into labels (label, text) select * from unnest($1::text[], $2::text[])")
            .bind(labels)
            .bind(texts)
            .execute(&self.pool)
            .await
            .unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A trainer that has begun; `name` is that of its work directory.
    pub fn trainer(&self, name: &str, arguments: &[&str]) -> Trainer {
        let log = self.path(&format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_trainer"))
            .env_remove("LABELSTREAM_LOG")
            .env("LABELSTREAM_TOKEN", "secret")
            .args(["--database-url", &self.database])
            .args(["--checkpoints", &self.path("checkpoints").display().to_string()])
            .args(["--work", &self.path(name).display().to_string()])
            // What a test may say otherwise.
            .envs([("LABELSTREAM_LEASE", "1"), ("LABELSTREAM_POLL", "0.05"), ("LABELSTREAM_TRAIN_THREADS", "1")])
            .args(["--device", "cpu"])
            .args(arguments)
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Trainer { child, log }
    }

    /// The directory of a small BERT, before it has learned much.
    pub fn small_network(&self) -> String {
        let row = |number: usize| Row {
            line: number as u64,
            text: format!("{}的味道{number}", if number.is_multiple_of(2) { "好吃" } else { "难吃" }),
            label: if number.is_multiple_of(2) { "好评" } else { "差评" }.to_owned(),
        };
        let dataset = Dataset::new(&(0..64).map(row).collect::<Vec<_>>(), &[], None).unwrap();
        let usual = Hyperparameters::for_base(&Base::NewBert);
        let settings = Settings {
            hyperparameters: Hyperparameters { epochs: 1, max_length: 16, ..usual },
            options: RunOptions { save_limit: 0, ..RunOptions::default() },
        };
        let out = self.path("network");
        trainer::fit(&settings, &dataset, &Base::NewBert, &out, &mut |_| Ok(())).unwrap();
        out.display().to_string()
    }

    /// One round that ends well.
    pub async fn round(&self, arguments: &[&str]) {
        let mut trainer = self.trainer("trainer", &[&["--once", "--base", "new-linear"], arguments].concat());
        assert!(trainer.end().await.success(), "{}", trainer.log());
    }

    pub async fn registry(&self) -> Registry {
        let pool = &self.pool;
        Registry {
            champions: sqlx::query_scalar("select version from deployments order by id").fetch_all(pool).await.unwrap(),
            models: sqlx::query_scalar("select count(*) from models").fetch_one(pool).await.unwrap(),
            verdicts: sqlx::query_scalar("select verdict from rounds order by round").fetch_all(pool).await.unwrap(),
        }
    }

    /// The columns of the last round as JSON.
    pub async fn last_round(&self) -> serde_json::Value {
        let last = "select to_jsonb(rounds) from rounds order by round desc limit 1";
        sqlx::query_scalar(last).fetch_one(&self.pool).await.unwrap()
    }

    /// Every registered checkpoint stands complete in the store, as registered.
    pub async fn every_registered_checkpoint_is_complete(&self) {
        for model in self.store.models().await.unwrap() {
            let directory = self.path("checkpoints").join(&model.manifest_sha256);
            Manifest::verify(&directory).unwrap();
            assert_eq!(Manifest::sha256(&directory).unwrap(), model.manifest_sha256);
        }
    }
}

/// Asks until the answer is yes.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A running `trainer`. Dropping it kills it.
pub struct Trainer {
    child: Child,
    log: PathBuf,
}

impl Trainer {
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// `STOP`, `CONT` or `TERM`.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub async fn end(&mut self) -> ExitStatus {
        let mut status = None;
        until("the trainer's end", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the trainer's log ---\n{}", self.log());
        }
    }
}
