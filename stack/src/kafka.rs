//! A private Apache Kafka: one broker, or several with replicas of every partition.

mod broker;
mod jars;
mod listener;

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::bail;
pub use broker::Broker;
use broker::{Peer, cluster_id};
pub use listener::Listener;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::machine::{free_port, wait_for};

/// A real Apache Kafka on 127.0.0.1 with its own data, until it is dropped.
///
/// It needs Java 17 or newer, and `mvn` once, to fetch Kafka's jars into the user's cache
/// directory.
pub struct Kafka {
    brokers: Vec<Broker>,
    addresses: String,
    listeners: Vec<(&'static str, String)>,
}

impl Kafka {
    /// Formats new storage and starts a broker on it. Takes about five seconds, the very first time
    /// half a minute more.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_brokers(1, &[], "")
    }

    /// The same with more listeners, and more settings.
    pub fn start_with(listeners: &[Listener], settings: &str) -> anyhow::Result<Self> {
        Self::start_brokers(1, listeners, settings)
    }

    /// A cluster of so many brokers, each a controller too: three go on without one of them. Every
    /// topic has a replica on each.
    pub fn start_cluster(brokers: u32) -> anyhow::Result<Self> {
        Self::start_brokers(brokers, &[], "")
    }

    /// With further listeners on the first broker.
    fn start_brokers(count: u32, more: &[Listener], settings: &str) -> anyhow::Result<Self> {
        let jars = jars::class_path()?;
        let peers = (1..=count).map(Peer::new).collect::<anyhow::Result<Vec<_>>>()?;
        let mut brokers = Vec::new();
        for peer in &peers {
            brokers.push(Broker::new(*peer, &peers, jars.clone())?);
        }
        let addresses = brokers.iter().map(|broker| broker.address().to_string());
        let addresses = addresses.collect::<Vec<_>>().join(",");
        let mut listeners = Vec::new();
        for listener in more {
            let address = format!("127.0.0.1:{}", free_port()?);
            brokers[0].change_settings(|properties| listener.added_to(properties, &address))?;
            listeners.push((listener.name, address));
        }
        brokers[0].change_settings(|properties| format!("{properties}{settings}"))?;
        let mut kafka = Self { brokers, addresses, listeners };
        let cluster = cluster_id()?;
        kafka.each(|broker| broker.format(&cluster))?;
        kafka.start_again()?;
        Ok(kafka)
    }

    /// What this machine lacks to run it, in a sentence; nothing where it can be started.
    pub fn missing() -> anyhow::Result<Option<&'static str>> {
        jars::missing()
    }

    /// The brokers' addresses, as `bootstrap.servers` wants them.
    pub fn brokers(&self) -> &str {
        &self.addresses
    }

    /// The address of one of the listeners that it was started with.
    pub fn listener(&self, name: &str) -> &str {
        let found = self.listeners.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, address)| address)
    }

    /// The broker at this place, the first of which is 0; its id is one more.
    pub fn broker(&mut self, place: usize) -> &mut Broker {
        &mut self.brokers[place]
    }

    /// Creates a topic; one that exists is an error.
    pub fn create_topic(&self, name: &str, partitions: i32) -> anyhow::Result<()> {
        self.create_topic_with(name, partitions, &[])
    }

    /// The same with settings of the topic's own, such as `cleanup.policy`.
    pub fn create_topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        let replicas = TopicReplication::Fixed(self.brokers.len() as i32);
        self.create(NewTopic::new(name, partitions, replicas), settings)
    }

    /// The same with one partition, whose replicas are on the brokers at these places, the leader
    /// first.
    pub fn create_topic_on(&self, name: &str, places: &[usize], settings: &[(&str, &str)]) -> anyhow::Result<()> {
        let ids: Vec<i32> = places.iter().map(|place| *place as i32 + 1).collect();
        self.create(NewTopic::new(name, 1, TopicReplication::Variable(&[&ids])), settings)
    }

    fn create<'a>(&self, mut topic: NewTopic<'a>, settings: &'a [(&'a str, &'a str)]) -> anyhow::Result<()> {
        let name = topic.name;
        let mut config = ClientConfig::new();
        let admin: AdminClient<DefaultClientContext> = config.set("bootstrap.servers", &self.addresses).create()?;
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let patience = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let created = wait_for(async { Ok(admin.create_topics([&topic], &patience).await?) })?;
        match created.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            Some(Err((name, error))) => bail!("cannot create the topic {name}: {error}"),
            None => bail!("cannot create the topic {name}: the broker said nothing about it"),
        }
    }

    /// The first broker's file of a partition's first records, to be damaged while it is stopped.
    pub fn log_file(&self, topic: &str, partition: i32) -> PathBuf {
        self.brokers[0].log_file(topic, partition)
    }

    /// The process id of the first broker; zero while it is stopped.
    pub fn pid(&self) -> u32 {
        self.brokers[0].pid()
    }

    /// Stops the brokers in their orderly way and waits for their end.
    pub fn stop(&mut self) {
        self.each(|broker| {
            broker.stop();
            Ok(())
        })
        .expect("stopping cannot fail");
    }

    /// Ends the brokers with SIGKILL, as a crash would, and waits for their end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.each(Broker::kill)
    }

    /// Starts the stopped or killed brokers on the same ports and data.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.each(Broker::start_again)
    }

    /// Makes another, empty cluster of the stopped brokers, at the same addresses.
    pub fn start_anew(&mut self) -> anyhow::Result<()> {
        let cluster = cluster_id()?;
        self.each(|broker| broker.format(&cluster))?;
        self.start_again()
    }

    /// Does it to all brokers at once: none of several is ready before most of them are there.
    fn each(&mut self, work: impl Fn(&mut Broker) -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
        thread::scope(|scope| {
            let working: Vec<_> = self.brokers.iter_mut().map(|broker| scope.spawn(|| work(broker))).collect();
            working.into_iter().try_for_each(|worker| worker.join().expect("no broker panics"))
        })
    }
}
