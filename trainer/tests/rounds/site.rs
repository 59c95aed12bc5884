//! A place of its own for each test: a database, a checkpoint store, trainers.

use std::ops::{Deref, Range};
use std::path::Path;

use bert::checkpoint::Manifest;
use harness::{Process, Storage, until};
use stack::Postgres;
use store::{NextOffset, Outcome, PredictionRow, Stream, Version, Write};
use trainer::{Base, Dataset, Hyperparameters, Row, RunOptions, Settings};

pub struct Site(Storage);

/// What is in the registry and in the checkpoint store.
#[derive(Debug, PartialEq)]
pub struct Registry {
    /// The versions that ever served, oldest first.
    pub champions: Vec<i64>,
    pub models: i64,
    pub verdicts: Vec<Option<String>>,
}

/// The reviews of the demo.
fn demo() -> Vec<Row> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/demo/reviews.csv");
    trainer::labeled_rows::read(&file, &trainer::Columns::default()).unwrap()
}

fn prediction((kafka_offset, row): (i64, &Row)) -> PredictionRow {
    PredictionRow {
        kafka_offset,
        record_time: None,
        review_id: format!("r-{kafka_offset}"),
        text: row.text.clone(),
        created_at: None,
        attributes: None,
        label: row.label.as_str().into(),
        score: 0.9,
        scores: vec![0.9, 0.1],
        version: Version(1),
        precision: "f32",
    }
}

impl Site {
    pub async fn new() -> Self {
        Self(Storage::new().await)
    }

    /// The same on a server of its own, which the test may stop.
    pub async fn on(server: &Postgres) -> Self {
        Self(Storage::on(server).await)
    }

    /// Inserts labels of the demo's reviews, as a person would.
    pub async fn label(&self, reviews: Range<usize>) {
        let rows = &demo()[reviews];
        let (labels, texts): (Vec<_>, Vec<_>) = rows.iter().map(|row| (row.label.clone(), row.text.clone())).unzip();
        sqlx::query("insert into labels (label, text) select * from unnest($1::text[], $2::text[])")
            .bind(labels)
            .bind(texts)
            .execute(&self.pool)
            .await
            .unwrap();
    }

    /// Puts the demo's reviews where a consumer would put them.
    pub async fn store_reviews(&self, reviews: Range<usize>) {
        let predictions: Vec<PredictionRow> = (0..).zip(&demo()[reviews]).map(prediction).collect();
        let [pipeline, cluster_id, topic] = ["labelstream", "a cluster", "reviews"].map(str::to_owned);
        let stream = Stream { pipeline, cluster_id, topic };
        let claim = self.store.claim(&stream, 0, "a test", NextOffset(0)).await.unwrap();
        let write = Write {
            partition: 0,
            epoch: claim.epoch,
            from: claim.next_offset,
            to: NextOffset(predictions.len() as i64),
            predictions,
            dead_letters: Vec::new(),
            tombstones: 0,
        };
        assert_eq!(self.store.write(&stream, &write).await.unwrap(), Outcome::Written);
    }

    /// A trainer that has begun; `name` is that of its work directory.
    pub fn trainer(&self, name: &str, arguments: &[&str]) -> Process {
        let mut command = harness::command(env!("CARGO_BIN_EXE_trainer"));
        command
            .env("LABELSTREAM_TOKEN", "secret")
            .args(["--database-url", &self.database])
            .args(["--checkpoints", &self.path("checkpoints").display().to_string()])
            .args(["--work", &self.path(name).display().to_string()])
            // What a test may say otherwise.
            .envs([("LABELSTREAM_LEASE", "1"), ("LABELSTREAM_POLL", "0.05"), ("LABELSTREAM_TRAIN_THREADS", "1")])
            .args(["--device", "cpu"])
            .args(arguments);
        Process::start(&mut command, self.path(&format!("{name}.log")))
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
        assert_eq!(trainer.exit_code().await, Some(0), "{}", trainer.log());
    }

    /// Waits until a trainer has done so many steps.
    pub async fn until_steps(&self, steps: i64) {
        let done = "select max((progress->>'step')::bigint) from rounds";
        until(&format!("{steps} steps"), async || self.number(done).await >= Some(steps)).await;
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

impl Deref for Site {
    type Target = Storage;

    fn deref(&self) -> &Storage {
        &self.0
    }
}
