//! The broker, as the command line and the benchmarks talk to it.

mod lag;
mod newest;
mod replay;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::{Complaints, KafkaArguments};
use anyhow::{Context, anyhow, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::metadata::MetadataBroker;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message as _, Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

pub use lag::{Ends, end_of, ends};
pub use newest::Stored;
pub use replay::{Replayed, replay};

/// One question to a broker; long enough for a broker on the other side of the world.
const ANSWER: Duration = Duration::from_secs(10);

/// After this, what was sent counts as lost: a little longer than librdkafka tries by default.
const FATE: Duration = Duration::from_secs(65);

/// Who wants to stop waits so long for what is on its way.
const GRACE: Duration = Duration::from_secs(5);

/// A cluster to ask about its topics.
pub struct Cluster {
    arguments: KafkaArguments,
    client: Arc<BaseConsumer<Complaints>>,
}

impl Cluster {
    /// Waits until a broker answers, at most `patience`.
    pub async fn connect(arguments: &KafkaArguments, patience: Duration) -> anyhow::Result<Self> {
        let complaints = Complaints::default();
        let client = arguments
            .client(&[("allow.auto.create.topics", "false")])?
            .create_with_context(complaints.clone())
            .context("the Kafka settings cannot be used")?;
        let cluster = Self { arguments: arguments.clone(), client: Arc::new(client) };
        let authorities = arguments.settings.authorities()?;
        let answered = cluster.ask(move |client| {
            let answer = client.fetch_metadata(None, patience);
            if answer.is_ok() {
                return Ok(());
            }
            // What librdkafka has to complain about waits to be fetched.
            client.poll(Duration::from_millis(100));
            Err(complaints.explained(authorities.as_deref()))
        });
        if let Err(why) = answered.await {
            let why = why.map_or(String::new(), |why| format!(": {why}"));
            bail!("no Kafka broker answered at {} within {} s{why}", arguments.brokers, patience.as_secs());
        }
        Ok(cluster)
    }

    /// The cluster's own id; none where the brokers are too old to have one.
    pub async fn id(&self) -> Option<String> {
        self.ask(|client| client.client().fetch_cluster_id(ANSWER)).await
    }

    /// The addresses of its brokers, as they give them themselves.
    pub async fn advertised(&self) -> anyhow::Result<Vec<String>> {
        let address = |broker: &MetadataBroker| format!("{}:{}", broker.host(), broker.port());
        self.ask(move |client| {
            let metadata = client.fetch_metadata(None, ANSWER)?;
            Ok(metadata.brokers().iter().map(address).collect())
        })
        .await
    }

    /// The topics that the members of a group read, besides `topic`.
    pub async fn others_of_group(&self, group: &str, topic: &str) -> anyhow::Result<Vec<String>> {
        let group = group.to_owned();
        let topics: anyhow::Result<Vec<String>> = self
            .ask(move |client| {
                let listed = client.fetch_group_list(Some(&group), ANSWER)?;
                let members = listed.groups().iter().flat_map(|group| group.members());
                Ok(members.filter_map(|member| member.metadata()).flat_map(subscribed).collect())
            })
            .await;
        let mut topics = topics?;
        topics.retain(|other| other != topic);
        topics.sort();
        topics.dedup();
        Ok(topics)
    }

    /// The time of the newest record of each partition that has one, in milliseconds.
    pub async fn newest_times(&self, topic: &str, partitions: usize) -> anyhow::Result<Vec<i64>> {
        let ends = self.ends(topic, partitions).await?;
        let mut last = TopicPartitionList::new();
        for (partition, end) in ends.iter().enumerate().filter(|(_, end)| **end > 0) {
            last.add_partition_offset(topic, partition as i32, Offset::Offset(end - 1))?;
        }
        // A group that nobody joins: librdkafka assigns nothing without one.
        let settings = [("group.id", "labelstream-doctor"), ("enable.auto.commit", "false")];
        let reader: BaseConsumer<Complaints> =
            self.arguments.client(&settings)?.create_with_context(Complaints::default())?;
        self.ask(move |_| {
            reader.assign(&last)?;
            let (deadline, mut times) = (Instant::now() + Duration::from_secs(3), Vec::new());
            // Where the last offset holds no record, such as the end of a transaction, none comes.
            while times.len() < last.count() && Instant::now() < deadline {
                if let Some(Ok(record)) = reader.poll(Duration::from_millis(100)) {
                    times.extend(record.timestamp().to_millis());
                }
            }
            Ok(times)
        })
        .await
    }

    /// The number of partitions of a topic; none if there is no such topic.
    pub async fn partitions(&self, topic: &str) -> anyhow::Result<Option<usize>> {
        let name = topic.to_owned();
        self.ask(move |client| {
            let metadata = client.fetch_metadata(Some(&name), ANSWER)?;
            let found = metadata.topics().iter().find(|topic| topic.name() == name);
            Ok::<_, KafkaError>(found.map(|topic| topic.partitions().len()).filter(|partitions| *partitions > 0))
        })
        .await
        .with_context(|| format!("the brokers do not tell of topic {topic:?}"))
    }

    /// The offset after the last record of each partition of a topic, in their order.
    pub async fn ends(&self, topic: &str, partitions: usize) -> anyhow::Result<Vec<i64>> {
        let name = topic.to_owned();
        self.ask(move |client| {
            let partitions = 0..i32::try_from(partitions).unwrap_or(i32::MAX);
            let end = |partition| Ok(client.fetch_watermarks(&name, partition, ANSWER)?.1);
            partitions.map(end).collect::<Result<_, KafkaError>>()
        })
        .await
        .with_context(|| format!("the brokers do not tell the offsets of topic {topic:?}"))
    }

    /// Makes a topic with the cluster's default replication; one that exists already is left as it
    /// is.
    pub async fn create_topic(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.arguments.client(&[])?.create()?;
        // -1: as the broker's default.replication.factor has it.
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
        let made = admin.create_topics([&new], &AdminOptions::new().operation_timeout(Some(ANSWER))).await?;
        match made.into_iter().next() {
            Some(Err((_, error))) if error != RDKafkaErrorCode::TopicAlreadyExists => {
                Err(anyhow!("topic {topic:?} could not be made: {error}"))
            }
            _ => Ok(()),
        }
    }

    /// A setting of a topic, where the brokers tell it.
    pub async fn topic_setting(&self, topic: &str, setting: &str) -> Option<String> {
        let admin: AdminClient<DefaultClientContext> = self.arguments.client(&[]).ok()?.create().ok()?;
        let options = AdminOptions::new().request_timeout(Some(ANSWER));
        let answer = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await.ok()?;
        let resource = answer.into_iter().next()?.ok()?;
        resource.get(setting)?.value.clone()
    }

    /// librdkafka's questions block, so they are asked on a thread of their own.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&BaseConsumer<Complaints>) -> T + Send + 'static,
    ) -> T {
        let client = Arc::clone(&self.client);
        tokio::task::spawn_blocking(move || question(&client)).await.expect("a question that panics is a bug")
    }
}

/// What is published: bytes, as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What decides the partition.
    pub key: Option<Vec<u8>>,
    /// The message; none is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Names and values.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// An idempotent producer that waits for all in-sync replicas and counts what was delivered.
pub struct Publisher {
    producer: ThreadedProducer<Deliveries>,
}

impl Publisher {
    /// Connects nothing yet: see [`Cluster::connect`].
    pub fn open(arguments: &KafkaArguments) -> anyhow::Result<Self> {
        let defaults = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            // A few milliseconds fill a batch; a person does not notice them.
            ("linger.ms", "20"),
            // What is too large is the topic's to say: a dead letter goes back as large as it came.
            ("message.max.bytes", "100000000"),
            // What cannot be delivered in a minute is reported instead of hoped for.
            ("message.timeout.ms", "60000"),
        ];
        let producer = arguments.client(&defaults)?.create_with_context(Deliveries::default());
        let producer = producer.context("the Kafka settings cannot be used")?;
        Ok(Self { producer })
    }

    /// Queues a record, and waits while the queue is full. `number` names the record in what
    /// [`Self::finish`] returns.
    pub async fn send(&self, topic: &str, record: &Record, number: usize) {
        self.producer.context().waiting.lock().expect("a poisoned lock is a bug").insert(number);
        let mut next = BaseRecord::with_opaque_to(topic, number);
        next.key = record.key.as_deref();
        next.payload = record.payload.as_deref();
        if !record.headers.is_empty() {
            next = next.headers(kafka_headers(&record.headers));
        }
        loop {
            match self.producer.send::<[u8], [u8]>(next) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    next = refused;
                    // The queue holds 100,000 records: some hundred of them leave meanwhile.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err((error, _)) => return self.producer.context().failed(number, &error),
            }
        }
    }

    /// How many records the brokers have acknowledged so far.
    pub fn delivered(&self) -> u64 {
        self.producer.context().delivered.load(Ordering::Relaxed)
    }

    /// Waits for the fate of every queued record, and returns those that were not delivered, each
    /// with the reason: see [`Self::give_up`].
    pub async fn finish(&self) -> Vec<(usize, String)> {
        let deadline = Instant::now() + FATE;
        while self.producer.context().is_waiting() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.give_up()
    }

    /// The same, and not for long once somebody wants to stop.
    pub async fn settled(&self, shutdown: &CancellationToken) -> Vec<(usize, String)> {
        let interrupted = async {
            shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            failed = self.finish() => failed,
            () = interrupted => self.give_up(),
        }
    }

    /// Those that were not delivered so far, by number, each with the reason. What no broker has
    /// acknowledged is not delivered, whatever becomes of it.
    pub fn give_up(&self) -> Vec<(usize, String)> {
        let deliveries = self.producer.context();
        let waiting = std::mem::take(&mut *deliveries.waiting.lock().expect("a poisoned lock is a bug"));
        let mut failed = std::mem::take(&mut *deliveries.failed.lock().expect("a poisoned lock is a bug"));
        let why = "no broker has acknowledged it in time; it may arrive all the same";
        failed.extend(waiting.into_iter().map(|number| (number, why.to_owned())));
        failed.sort_by_key(|(number, _)| *number);
        failed
    }
}

/// The topics in a member's word to its group: a version, then a list of names.
/// <https://kafka.apache.org/protocol#protocol_messages>, `ConsumerProtocolSubscription`
fn subscribed(metadata: &[u8]) -> Vec<String> {
    let take = |bytes: &mut &[u8], length: usize| -> Option<Vec<u8>> {
        let (taken, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(taken.to_vec())
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number: usize, byte| number << 8 | usize::from(*byte));
    let read = || {
        let (mut rest, mut topics) = (metadata.get(2..)?, Vec::new());
        for _ in 0..number(&take(&mut rest, 4)?) {
            let length = number(&take(&mut rest, 2)?);
            topics.push(String::from_utf8(take(&mut rest, length)?).ok()?);
        }
        Some(topics)
    };
    read().unwrap_or_default()
}

fn kafka_headers(headers: &[(String, Option<Vec<u8>>)]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
        all.insert(Header { key, value: value.as_ref() })
    })
}

/// Counts deliveries, on the producer's thread.
#[derive(Default)]
struct Deliveries {
    delivered: AtomicU64,
    failed: Mutex<Vec<(usize, String)>>,
    /// What was sent and has neither arrived nor failed.
    waiting: Mutex<BTreeSet<usize>>,
}

impl Deliveries {
    fn is_waiting(&self) -> bool {
        !self.waiting.lock().expect("a poisoned lock is a bug").is_empty()
    }

    /// Whether somebody still waits for this record.
    fn settle(&self, number: usize) -> bool {
        self.waiting.lock().expect("a poisoned lock is a bug").remove(&number)
    }

    fn failed(&self, number: usize, error: &KafkaError) {
        if !self.settle(number) {
            return;
        }
        let why = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
        self.failed.lock().expect("a poisoned lock is a bug").push((number, why));
    }
}

impl ClientContext for Deliveries {
    fn log(&self, _: RDKafkaLogLevel, _: &str, message: &str) {
        tracing::debug!("{message}");
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "{reason}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        match result {
            Ok(_) if self.settle(number) => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
            }
            // It was given up.
            Ok(_) => {}
            Err((error, _)) => self.failed(number, error),
        }
    }
}

impl ClientContext for Complaints {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!("{message}");
        self.hear(facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "{reason}");
    }
}

impl ConsumerContext for Complaints {}
