//! librdkafka's own cluster, inside this process: for the demo, and for faults that a real broker
//! does not show on command.

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Request = Box<dyn FnOnce(&Cluster) + Send>;

/// The id of the first broker.
const BROKER: i32 = 1;

/// A cluster in this process, reachable from every process of the machine, until it is
/// dropped.
///
/// It is no Kafka. It holds about 5 MiB or 100,000 message sets a partition and then forgets the
/// oldest silently; it has no admin requests, no offsets by time and no transaction isolation, and
/// waits three seconds before a group's first rebalance.
///
/// The cluster lives on a thread of its own, because it may not move between threads; this handle
/// may.
pub struct InProcessKafka {
    brokers: String,
    count: i32,
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

/// Something that goes wrong, or right again, with the brokers.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Every connection is closed and none is taken.
    Down,
    /// Connections are taken again.
    Up,
    /// Every answer comes this much later.
    RoundTrip(Duration),
}

impl InProcessKafka {
    /// Starts a cluster of one broker.
    pub fn start() -> anyhow::Result<Self> {
        Self::of(1)
    }

    /// Starts a cluster of so many brokers, whose ids count from one.
    pub fn of(count: i32) -> anyhow::Result<Self> {
        let (requests, incoming) = channel::<Request>();
        let (announce, announced) = channel();
        let serve = move || match MockCluster::new(count) {
            Ok(cluster) => {
                let _ = announce.send(Ok(cluster.bootstrap_servers()));
                incoming.iter().for_each(|request| request(&cluster));
            }
            Err(error) => drop(announce.send(Err(error))),
        };
        let thread = thread::Builder::new().name("in-process-kafka".into()).spawn(serve)?;
        let brokers = announced.recv().context("the in-process cluster's thread ended")?;
        let brokers = brokers.context("cannot start the in-process cluster")?;
        Ok(Self { brokers, count, requests: Some(requests), thread: Some(thread) })
    }

    /// The broker's address, as `bootstrap.servers` wants it.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Creates a topic.
    pub fn create_topic(&self, name: &str, partitions: i32) -> anyhow::Result<()> {
        let topic = name.to_owned();
        self.ask(move |cluster| Ok(cluster.create_topic(&topic, partitions, 1)?))
    }

    /// Makes the brokers fail, or work again.
    pub fn inject(&self, fault: Fault) -> anyhow::Result<()> {
        let brokers = BROKER..=self.count;
        self.ask(move |cluster| {
            for broker in brokers {
                match fault {
                    Fault::Down => cluster.broker_down(broker)?,
                    Fault::Up => cluster.broker_up(broker)?,
                    Fault::RoundTrip(delay) => cluster.broker_round_trip_time(broker, delay)?,
                }
            }
            Ok(())
        })
    }

    /// Gives a partition another leader, or none; not none while somebody reads it, for librdkafka's
    /// cluster crashes then.
    pub fn set_leader(&self, topic: &str, partition: i32, leader: Option<i32>) -> anyhow::Result<()> {
        let topic = topic.to_owned();
        self.ask(move |cluster| Ok(cluster.partition_leader(&topic, partition, leader)?))
    }

    /// Gives a group another coordinator.
    pub fn set_coordinator(&self, group: &str, broker: i32) -> anyhow::Result<()> {
        let group = MockCoordinator::Group(group.to_owned());
        self.ask(move |cluster| Ok(cluster.coordinator(group, broker)?))
    }

    /// Lets nobody join a group, for so many attempts.
    pub fn forbid_groups(&self, attempts: usize) -> anyhow::Result<()> {
        let errors = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; attempts];
        self.ask(move |cluster| {
            cluster.request_errors(RDKafkaApiKey::JoinGroup, &errors);
            Ok(())
        })
    }

    fn ask(&self, what: impl FnOnce(&Cluster) -> anyhow::Result<()> + Send + 'static) -> anyhow::Result<()> {
        let (answer, answered) = channel();
        let request: Request = Box::new(move |cluster| drop(answer.send(what(cluster))));
        let Some(Ok(())) = self.requests.as_ref().map(|requests| requests.send(request)) else {
            bail!("the in-process cluster has ended");
        };
        answered.recv().context("the in-process cluster has ended")?
    }
}

impl Drop for InProcessKafka {
    fn drop(&mut self) {
        // The thread ends, and the cluster with it, when nobody can ask any more.
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
