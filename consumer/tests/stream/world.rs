//! A topic, a database, and consumers between them.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::LazyLock;
use std::time::Duration;

use consumer::{Config, Model, ModelSource};
use harness::{Storage, until};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use service::{CheckpointArguments, DatabaseArguments, KafkaArguments, KafkaSettings};
use stack::{InProcessKafka, Postgres};
use store::Version;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const TOPIC: &str = "reviews";

pub struct World {
    /// The cluster, unless it is somebody else's.
    pub kafka: Option<InProcessKafka>,
    brokers: String,
    storage: Storage,
}

impl World {
    /// A topic with two partitions and a migrated database on the server that all tests share.
    pub async fn new() -> Self {
        Self::with(Storage::new().await)
    }

    /// The same on a server of one's own, which may be stopped.
    pub async fn on(server: &Postgres) -> Self {
        Self::with(Storage::on(server).await)
    }

    fn with(storage: Storage) -> Self {
        let kafka = InProcessKafka::start().unwrap();
        kafka.create_topic(TOPIC, 2).unwrap();
        Self { brokers: kafka.brokers().to_owned(), kafka: Some(kafka), storage }
    }

    /// A migrated database beside a cluster that somebody else keeps.
    pub async fn beside(brokers: &str) -> Self {
        Self { kafka: None, brokers: brokers.to_owned(), storage: Storage::new().await }
    }

    pub fn config(&self) -> Config {
        Self::config_for(&self.brokers, &self.database)
    }

    pub fn config_for(brokers: &str, database: &str) -> Config {
        // A session ends soon, so that what a test leaves behind does not hold its partitions.
        let properties = vec!["session.timeout.ms=6000".parse().unwrap()];
        Config {
            kafka: KafkaArguments {
                brokers: brokers.to_owned(),
                settings: KafkaSettings { kafka_properties: properties, ..KafkaSettings::default() },
            },
            database: DatabaseArguments::new(database),
            checkpoints: CheckpointArguments { url: "/nowhere".to_owned() },
            http: "127.0.0.1:0".parse().unwrap(),
            ..Config::default()
        }
    }

    /// A consumer with a model of its own.
    pub fn consume<M: Model + 'static>(&self, model: M, change: impl FnOnce(&mut Config)) -> Running {
        let mut config = self.config();
        change(&mut config);
        self.start(config, ModelSource::fixed(move || Ok(model)))
    }

    /// A consumer that finds every text positive.
    pub fn consume_constantly(&self) -> Running {
        self.consume(consumer::Constant::new(Version(7)), |_| {})
    }

    pub fn start(&self, config: Config, source: ModelSource) -> Running {
        static TRACE: LazyLock<()> = LazyLock::new(|| {
            let filter = tracing_subscriber::EnvFilter::new("consumer=info");
            tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().init();
        });
        LazyLock::force(&TRACE);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(consumer::run(config, source, shutdown.clone()));
        Running { task, shutdown }
    }

    /// Publishes values, in turns to the two partitions; `None` is a tombstone.
    pub fn publish<'a>(&self, values: impl IntoIterator<Item = Option<&'a [u8]>>) {
        let mut settings = ClientConfig::new();
        let producer: BaseProducer = settings.set("bootstrap.servers", &self.brokers).create().unwrap();
        for (index, value) in values.into_iter().enumerate() {
            let header = Header { key: "source", value: Some("test") };
            let mut record = BaseRecord::<(), [u8]>::to(TOPIC)
                .partition((index % 2) as i32)
                .headers(OwnedHeaders::new().insert(header));
            record.payload = value;
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(20)).unwrap();
    }

    /// Publishes this many good reviews.
    pub fn publish_reviews(&self, count: usize) {
        let reviews: Vec<_> = (0..count).map(|index| format!(r#"{{"text":"好吃 {index}"}}"#)).collect();
        self.publish(reviews.iter().map(|review| Some(review.as_bytes())));
    }

    /// Waits until so many records have left their effect.
    pub async fn until_written(&self, count: i64) {
        let written = "select coalesce(sum(predictions + dead_letters + tombstones), 0)::bigint from positions";
        until(&format!("{count} records written"), async || self.number(written).await >= Some(count)).await;
        assert_eq!(self.number(written).await, Some(count));
    }

    /// How often each reason has made a dead letter.
    pub async fn reasons(&self) -> BTreeMap<String, i64> {
        let query = "select reason, count(*) from dead_letters group by reason";
        let rows: Vec<(String, i64)> = sqlx::query_as(query).fetch_all(&self.pool).await.unwrap();
        rows.into_iter().collect()
    }

    /// Every offset below the positions has one row, in one of the tables.
    pub async fn assert_each_exactly_once(&self) {
        let query = "select count(*) from (
            select partition, kafka_offset from predictions union all select partition, kafka_offset from dead_letters) rows";
        let distinct = "select count(distinct (partition, kafka_offset)) from (
            select partition, kafka_offset from predictions union all select partition, kafka_offset from dead_letters) rows";
        let positions = "select coalesce(sum(next_offset - tombstones), 0)::bigint from positions";
        let rows = self.number(query).await;
        assert!(rows.is_some(), "the database answers");
        assert_eq!(rows, self.number(distinct).await, "no record has two rows");
        assert_eq!(rows, self.number(positions).await, "every record has a row");
    }
}

impl Deref for World {
    type Target = Storage;

    fn deref(&self) -> &Storage {
        &self.storage
    }
}

pub struct Running {
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Running {
    /// Stops it in order.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.end().await.unwrap();
    }

    /// How it ends.
    pub async fn end(self) -> anyhow::Result<()> {
        tokio::time::timeout(Duration::from_secs(40), self.task).await.expect("an end in time").unwrap()
    }

    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}
