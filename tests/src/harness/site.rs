//! A test's own place: a topic, a database, a checkpoint store.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use classifier::checkpoint::Manifest;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool, query_as, query_scalar};
use stack::{Kafka, Postgres};
use store::checkpoints::CheckpointStore;
use store::{NewModel, Store, Version};
use tempfile::TempDir;

use super::model::{TINY_LABELS, save_tiny_model};
use super::{Expect, Sent, Service, Topic, kafka, postgres, until};

/// Where one test runs.
pub struct Site {
    /// The broker's address.
    pub brokers: String,
    /// The topic, which is also the group.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// The database's address.
    pub database: String,
    /// The same database, for looking into.
    pub pool: PgPool,
    /// Everything that lies in files.
    pub files: TempDir,
}

/// The record of one row, wherever it stands.
type Place = (i32, i64);

impl Site {
    /// A site on the shared servers, with a migrated database and a champion.
    pub async fn new(name: &str, partitions: i32) -> Self {
        let site = Self::bare(name, partitions, kafka(), postgres()).await;
        site.migrate().await;
        site.promote_tiny_model().await;
        site
    }

    /// A site with a topic and an empty database.
    pub async fn bare(name: &str, partitions: i32, kafka: &Kafka, postgres: &Postgres) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let topic = format!("{name}_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        kafka.create_topic(&topic, partitions).expect("the topic can be made");
        let database = postgres.create_database(&topic).expect("the database can be made");
        // A test that stops the server asks on and on: let each question be short.
        let options = PgPoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(5));
        let pool = options.connect_lazy(&database).expect("the address is one");
        let files = TempDir::new().expect("a directory can be made");
        Self { brokers: kafka.brokers().to_owned(), topic, partitions, database, pool, files }
    }

    /// The store's own view of the database.
    pub async fn store(&self) -> Store {
        Store::connect(&self.database, 1).await.expect("the database answers")
    }

    /// Brings the database to the present schema.
    pub async fn migrate(&self) {
        self.store().await.migrate().await.expect("the migrations apply");
    }

    /// The address of the checkpoint store.
    pub fn checkpoints(&self) -> String {
        format!("file://{}/checkpoints", self.files.path().display())
    }

    /// Publishes a tiny model and makes it the champion.
    pub async fn promote_tiny_model(&self) -> Version {
        let directory = self.files.path().join("tiny");
        save_tiny_model(&directory, 1);
        self.promote(&directory).await
    }

    /// Publishes a checkpoint and makes it the first champion.
    pub async fn promote(&self, directory: &Path) -> Version {
        let version = self.register(directory).await;
        let promoted = self.store().await.promote(version, "the test says so", None).await;
        promoted.expect("the model can be promoted");
        version
    }

    /// Publishes a checkpoint.
    pub async fn register(&self, directory: &Path) -> Version {
        let checkpoints = CheckpointStore::open(&self.checkpoints()).expect("the checkpoint store opens");
        let model = NewModel {
            uri: checkpoints.publish(directory).await.expect("the checkpoint can be published"),
            manifest_sha256: Manifest::sha256(directory).expect("the checkpoint has a manifest"),
            labels: TINY_LABELS.map(str::to_owned).to_vec(),
            metrics: serde_json::json!({}),
            parent: None,
            round: None,
        };
        self.store().await.register_model(&model).await.expect("the model can be registered")
    }

    /// Opens the topic for publishing.
    pub fn open_topic(&self) -> Topic {
        Topic::open(&self.brokers, &self.topic, self.partitions)
    }

    /// The flags of a consumer of this site, but for those in `more`, which win.
    pub fn flags(&self, more: &[(&str, &str)]) -> Vec<String> {
        let checkpoints = self.checkpoints();
        let cache = self.files.path().join("cache").display().to_string();
        let usual = [
            ("--brokers", self.brokers.as_str()),
            ("--topic", &self.topic),
            ("--group", &self.topic),
            ("--database-url", &self.database),
            ("--checkpoints", &checkpoints),
            ("--cache", &cache),
            ("--device", "cpu"),
        ];
        let kept = usual.iter().filter(|(flag, _)| more.iter().all(|(other, _)| other != flag));
        kept.chain(more).flat_map(|(flag, value)| [flag.to_string(), value.to_string()]).collect()
    }

    /// Starts a consumer; `name` names its log.
    pub fn consumer(&self, name: &str, more: &[(&str, &str)]) -> Service {
        // A member that was killed holds its partitions until its session ends.
        let short_sessions = [("-X", "session.timeout.ms=1000"), ("-X", "heartbeat.interval.ms=200")];
        let flags: Vec<_> = short_sessions.iter().chain(more).copied().collect();
        Service::start("consumer", &self.flags(&flags), self.files.path().join(format!("{name}.log")))
    }

    /// Starts a trainer that looks often; `name` names its log.
    pub fn trainer(&self, name: &str, more: &[(&str, &str)]) -> Service {
        let checkpoints = self.checkpoints();
        let work = self.files.path().join("work").display().to_string();
        let usual = [
            ("--database-url", self.database.as_str()),
            ("--checkpoints", &checkpoints),
            ("--work", &work),
            ("--device", "cpu"),
            ("--poll", "0.1"),
        ];
        let flags = usual.iter().chain(more).flat_map(|(flag, value)| [flag.to_string(), value.to_string()]);
        Service::start("trainer", &flags.collect::<Vec<_>>(), self.files.path().join(format!("{name}.log")))
    }

    /// One number from the database; `None` while it does not answer.
    pub async fn number(&self, sql: &str) -> Option<i64> {
        query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await.ok()
    }

    /// How many records are done, over all partitions.
    pub async fn done(&self) -> i64 {
        self.number("select coalesce(sum(next_offset), 0)::bigint from positions").await.unwrap_or(0)
    }

    /// Waits until the positions have passed all of these records.
    pub async fn until_done(&self, sent: &[Sent]) {
        let mut ends: HashMap<i32, i64> = HashMap::new();
        for record in sent {
            let end = ends.entry(record.partition).or_default();
            *end = (*end).max(record.offset + 1);
        }
        let expected: i64 = ends.values().sum();
        until(&format!("{expected} records done"), async || self.done().await >= expected).await;
    }

    /// The invariant, record by record: every published record became what it had to become, once,
    /// and nothing else is there.
    pub async fn check_every_record(&self, sent: &[Sent]) {
        let mut predictions = self.predictions().await;
        let mut dead_letters = self.dead_letters().await;
        for record in sent {
            let place = (record.partition, record.offset);
            let prediction = predictions.remove(&place);
            let dead_letter = dead_letters.remove(&place);
            match &record.message.expect {
                Expect::Prediction(text) => {
                    assert_eq!(prediction.as_ref(), Some(text), "the prediction of {place:?}");
                    assert_eq!(dead_letter, None, "a good record became a dead letter at {place:?}");
                }
                Expect::DeadLetter(reason) => {
                    let dead_letter =
                        dead_letter.unwrap_or_else(|| panic!("no dead letter of {place:?}, expected {reason}"));
                    assert_eq!(dead_letter.reason, *reason, "the reason of {place:?}");
                    assert!(dead_letter.payload == record.message.payload, "the bytes of {place:?} differ");
                    assert_eq!(dead_letter.key, record.message.key, "the key of {place:?}");
                    assert_eq!(dead_letter.headers, record.message.headers, "the headers of {place:?}");
                    assert_eq!(prediction, None, "a bad record became a prediction at {place:?}");
                }
                Expect::Tombstone => {
                    assert!(prediction.is_none() && dead_letter.is_none(), "a tombstone left a row at {place:?}")
                }
            }
        }
        assert!(predictions.is_empty(), "predictions of nothing: {:?}", predictions.keys());
        assert!(dead_letters.is_empty(), "dead letters of nothing: {:?}", dead_letters.keys());
        self.check_positions(sent.len() as i64).await;
    }

    /// Predictions + dead letters + tombstones + gaps = the records before the position, by the
    /// rows and by the counters.
    async fn check_positions(&self, records: i64) {
        let sql = "select partition, next_offset, predictions, dead_letters, tombstones,
                (select count(*) from predictions as row where row.partition = positions.partition),
                (select count(*) from dead_letters as row where row.partition = positions.partition),
                (select coalesce(sum(to_offset - from_offset), 0)::bigint from gaps as row where row.partition = positions.partition)
            from positions";
        let rows: Vec<PositionRow> = query_as(sql).fetch_all(&self.pool).await.expect("the database answers");
        for (partition, next, predictions, dead_letters, tombstones, predicted, dead, gaps) in &rows {
            assert_eq!((predictions, dead_letters), (predicted, dead), "the counters of partition {partition}");
            assert_eq!(predicted + dead + tombstones + gaps, *next, "the sum of partition {partition}");
        }
        assert_eq!(rows.iter().map(|row| row.1).sum::<i64>(), records, "the sum over all partitions");
    }

    async fn predictions(&self) -> HashMap<Place, String> {
        let sql = "select partition, kafka_offset, text from predictions where topic = $1 and pipeline = $1";
        let rows: Vec<(i32, i64, String)> =
            query_as(sql).bind(&self.topic).fetch_all(&self.pool).await.expect("the database answers");
        rows.into_iter().map(|(partition, offset, text)| ((partition, offset), text)).collect()
    }

    async fn dead_letters(&self) -> HashMap<Place, DeadLetter> {
        let sql = "select partition, kafka_offset, reason, key, payload, header_names, header_values
            from dead_letters where topic = $1 and pipeline = $1";
        let rows: Vec<DeadLetterRow> =
            query_as(sql).bind(&self.topic).fetch_all(&self.pool).await.expect("the database answers");
        let keyed = |(partition, offset, reason, key, payload, names, values): DeadLetterRow| {
            let headers = names.into_iter().zip(values).collect();
            ((partition, offset), DeadLetter { reason, key, payload, headers })
        };
        rows.into_iter().map(keyed).collect()
    }
}

/// A partition, its position, its three counters, and what there is: predictions, dead letters,
/// offsets in gaps.
type PositionRow = (i32, i64, i64, i64, i64, i64, i64, i64);

/// A row of `dead_letters`: partition, offset, reason, key, payload, names and values of the
/// headers.
type DeadLetterRow = (i32, i64, String, Option<Vec<u8>>, Option<Vec<u8>>, Vec<String>, Vec<Option<Vec<u8>>>);

#[derive(Debug, PartialEq)]
struct DeadLetter {
    reason: String,
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}
