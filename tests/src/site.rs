//! A test's own place: a topic, a database, a checkpoint store.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::time::Instant;

use harness::{Process, Storage, kafka, postgres, until};
use sqlx::query_as;
use stack::{Kafka, Postgres};

use crate::programs::program;
use crate::records::{Expect, Sent, Topic};

/// Where one test runs.
pub struct Site {
    /// The broker's address.
    pub brokers: String,
    /// The topic, which is also the group.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: i32,
    storage: Storage,
}

/// The record of one row, wherever it stands.
type Place = (i32, i64);

impl Site {
    /// A site on the shared servers, with a migrated database and a champion.
    pub async fn new(name: &str, partitions: i32) -> Self {
        Self::on(name, partitions, kafka(), postgres()).await
    }

    /// The same on servers of which the test may stop one.
    pub async fn on(name: &str, partitions: i32, kafka: &Kafka, postgres: &Postgres) -> Self {
        kafka.create_topic(name, partitions).expect("the topic can be made");
        Self::of_topic(name, partitions, kafka, postgres).await
    }

    /// The same with a topic that there is.
    pub async fn of_topic(name: &str, partitions: i32, kafka: &Kafka, postgres: &Postgres) -> Self {
        let site = Self::with(name, partitions, kafka, Storage::on(postgres).await);
        site.promote_tiny_model(1).await;
        site
    }

    /// A site with a topic and an empty database on the shared servers.
    pub async fn bare(name: &str, partitions: i32) -> Self {
        kafka().create_topic(name, partitions).expect("the topic can be made");
        Self::with(name, partitions, kafka(), Storage::unmigrated(postgres()).await)
    }

    fn with(topic: &str, partitions: i32, kafka: &Kafka, storage: Storage) -> Self {
        Self { brokers: kafka.brokers().to_owned(), topic: topic.to_owned(), partitions, storage }
    }

    /// Opens the topic for publishing.
    pub fn open_topic(&self) -> Topic {
        Topic::open(&self.brokers, &self.topic, self.partitions)
    }

    /// The flags of a consumer of this site, but for those in `more`, which win.
    pub fn flags(&self, more: &[(&str, &str)]) -> Vec<String> {
        let checkpoints = self.checkpoints();
        let cache = self.path("cache").display().to_string();
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
    pub fn consumer(&self, name: &str, more: &[(&str, &str)]) -> Process {
        Process::start(&mut self.consumer_command(more), self.path(&format!("{name}.log")))
    }

    /// The command that starts such a consumer.
    pub fn consumer_command(&self, more: &[(&str, &str)]) -> Command {
        // A member that was killed holds its partitions until its session ends.
        let short_sessions = [("-X", "session.timeout.ms=1000"), ("-X", "heartbeat.interval.ms=200")];
        let flags: Vec<_> = short_sessions.iter().chain(more).copied().collect();
        let mut command = program("consumer");
        command.args(self.flags(&flags));
        command
    }

    /// Starts a trainer that looks often; `name` names its log.
    pub fn trainer(&self, name: &str, more: &[(&str, &str)]) -> Process {
        Process::start(&mut self.trainer_command(more), self.path(&format!("{name}.log")))
    }

    /// The command that starts such a trainer.
    pub fn trainer_command(&self, more: &[(&str, &str)]) -> Command {
        let checkpoints = self.checkpoints();
        let work = self.path("work").display().to_string();
        let usual = [
            ("--database-url", self.database.as_str()),
            ("--checkpoints", &checkpoints),
            ("--work", &work),
            ("--device", "cpu"),
            ("--poll", "0.1"),
        ];
        let kept = usual.iter().filter(|(flag, _)| more.iter().all(|(other, _)| other != flag));
        let mut command = program("trainer");
        command.args(kept.chain(more).flat_map(|(flag, value)| [flag, value]));
        command
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

    /// Waits until more is done than now, and says after what and how long that was.
    pub async fn until_it_flows(&self, what: &str) {
        let (before, since) = (self.done().await, Instant::now());
        until("more records", async || self.done().await > before).await;
        println!("{what}: the next record after {:.1} s", since.elapsed().as_secs_f64());
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

impl Deref for Site {
    type Target = Storage;

    fn deref(&self) -> &Storage {
        &self.storage
    }
}

impl DerefMut for Site {
    fn deref_mut(&mut self) -> &mut Storage {
        &mut self.storage
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
