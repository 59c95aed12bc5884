//! What Kafka has of a topic's partitions: asked on a thread of its own, all partitions of a leader
//! at once. A broker that does not answer keeps nobody from reading the partitions of others.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::thread::{Builder, Thread, scope};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};

use super::connect::{Scout, scout};
use super::settings::Settings;
use super::topic_id::topic_id;

/// One question to a broker.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Partitions of a topic of which nothing is known: memory for reading ahead is enough for so many.
const MANY: usize = 1_000;

/// The lowest offset that a partition has, and the one after its highest.
pub(super) type Edges = (i64, i64);

/// What Kafka has said.
pub(super) struct Answer {
    /// The partitions that the question was about.
    pub asked: Vec<i32>,
    /// The topic's own id, where the brokers tell it.
    pub topic_id: Option<String>,
    /// What there is of each partition, or why that is not known; of more partitions than were
    /// asked for where all were wanted.
    pub edges: BTreeMap<i32, Result<Edges, String>>,
}

/// Asks Kafka, beside the client that reads.
pub(super) struct Asker {
    client: Arc<BaseConsumer<Scout>>,
    topic: String,
    /// Woken by every answer.
    listener: Thread,
    sender: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
}

impl Asker {
    /// For the thread that makes it.
    pub fn new(settings: &Settings, topic: &str) -> Result<Self> {
        let (sender, answers) = mpsc::channel();
        let listener = std::thread::current();
        Ok(Self { client: Arc::new(scout(settings)?), topic: topic.to_owned(), listener, sender, answers })
    }

    /// How many partitions the topic has; many where nobody says.
    pub fn partitions(&self) -> usize {
        let metadata = self.client.fetch_metadata(Some(&self.topic), TIMEOUT);
        let partitions = metadata.ok().and_then(|metadata| Some(metadata.topics().first()?.partitions().len()));
        partitions.filter(|partitions| *partitions > 0).unwrap_or(MANY)
    }

    /// Asks for these partitions, or for these among all of the topic's.
    pub fn ask(&self, partitions: Vec<i32>, all: bool) -> Result<()> {
        let (client, topic) = (self.client.clone(), self.topic.clone());
        let (sender, listener) = (self.sender.clone(), self.listener.clone());
        let question = move || {
            // Nobody may be left to hear it.
            let _ = sender.send(ask(&client, &topic, partitions, all));
            listener.unpark();
        };
        Builder::new().name("kafka-ask".to_owned()).spawn(question).context("cannot start a thread")?;
        Ok(())
    }

    /// What has been answered since the last call.
    pub fn answers(&self) -> impl Iterator<Item = Answer> {
        self.answers.try_iter()
    }
}

fn ask(client: &BaseConsumer<Scout>, topic: &str, asked: Vec<i32>, all: bool) -> Answer {
    // Serves librdkafka's log and errors.
    client.poll(Duration::ZERO);
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT).map_err(|error| format!("no broker answers: {error}"));
    let found = metadata.as_ref().map(|metadata| metadata.topics().iter().find(|found| found.name() == topic));
    let wanted = match &found {
        Ok(Some(found)) if all => found.partitions().iter().map(|partition| partition.id()).collect(),
        _ => asked.clone(),
    };
    let mut edges: BTreeMap<i32, Result<Edges, String>> = BTreeMap::new();
    let mut leaders: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for partition in wanted {
        match found.map_err(Clone::clone).and_then(|found| leader(found, partition)) {
            Ok(leader) => leaders.entry(leader).or_default().push(partition),
            Err(why) => {
                edges.insert(partition, Err(why));
            }
        }
    }
    let topic_id = scope(|scope| {
        let topic_id = scope.spawn(|| topic_id(client.client(), topic, TIMEOUT));
        let deadline = Instant::now() + TIMEOUT * 2;
        let questions: Vec<_> = (leaders.values())
            .map(|partitions| scope.spawn(move || edges_of(client, topic, partitions, deadline)))
            .collect();
        for question in questions {
            edges.extend(question.join().expect("a question that panics is a bug"));
        }
        topic_id.join().expect("a question that panics is a bug")
    });
    Answer { asked, topic_id, edges }
}

/// The broker that leads a partition.
fn leader(topic: Option<&MetadataTopic>, partition: i32) -> Result<i32, String> {
    let partitions = topic.map(MetadataTopic::partitions).unwrap_or_default();
    match partitions.iter().find(|found| found.id() == partition).map(|found| found.leader()) {
        None => Err("Kafka does not know this partition".to_owned()),
        Some(leader) if leader < 0 => Err("it has no leader: no broker that holds it is up".to_owned()),
        Some(leader) => Ok(leader),
    }
}

/// The edges of partitions of one leader. Where it refuses the question, one of them may be the
/// reason: the halves are asked for themselves.
fn edges_of(
    client: &BaseConsumer<Scout>,
    topic: &str,
    partitions: &[i32],
    deadline: Instant,
) -> Vec<(i32, Result<Edges, String>)> {
    let offsets = |edge| offsets(client, topic, partitions, edge);
    match offsets(Offset::Beginning).and_then(|low| Ok((low, offsets(Offset::End)?))) {
        Ok((low, high)) => (partitions.iter())
            .map(|partition| {
                let edge = |offsets: &BTreeMap<i32, Result<i64, String>>| {
                    offsets.get(partition).cloned().unwrap_or_else(|| Err("the broker left it out".to_owned()))
                };
                (*partition, edge(&low).and_then(|low| Ok((low, edge(&high)?))))
            })
            .collect(),
        Err(error) if partitions.len() > 1 && Instant::now() < deadline && !is_silence(&error) => {
            let (left, right) = partitions.split_at(partitions.len() / 2);
            [left, right].into_iter().flat_map(|half| edges_of(client, topic, half, deadline)).collect()
        }
        Err(error) => {
            let why = format!("its leader does not say what it has: {error}");
            partitions.iter().map(|partition| (*partition, Err(why.clone()))).collect()
        }
    }
}

fn is_silence(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut)
}

/// One edge of each: the protocol asks for it as an offset by time.
fn offsets(
    client: &BaseConsumer<Scout>,
    topic: &str,
    partitions: &[i32],
    edge: Offset,
) -> KafkaResult<BTreeMap<i32, Result<i64, String>>> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for &partition in partitions {
        list.add_partition_offset(topic, partition, edge)?;
    }
    let answered = client.offsets_for_times(list, TIMEOUT)?;
    let offset = |answered: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        answered.error().map_err(|error| error.to_string())?;
        match answered.offset() {
            Offset::Offset(offset) => Ok(offset),
            other => Err(format!("its leader answers {other:?} where an offset should be")),
        }
    };
    Ok(answered.elements().into_iter().map(|element| (element.partition(), offset(element))).collect())
}
