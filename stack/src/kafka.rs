//! A private Apache Kafka: one process that is broker and controller.

mod jars;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use tempfile::TempDir;

use crate::machine::{free_port, random_bytes, wait_for};
use crate::server::{LOG, Launch, Server};

/// What the broker prints when it takes requests.
const STARTED: &str = "Kafka Server started";

/// Only what helps when it does not start, and the line that says that it did.
const LOG_SETTINGS: &str = "\
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %m (%c{1})%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
logger.started.name=kafka.server.KafkaRaftServer
logger.started.level=info
";

/// A real Apache Kafka on 127.0.0.1 with its own data, until it is dropped.
///
/// It needs Java 17 or newer, and `mvn` once, to fetch Kafka's jars into the user's cache
/// directory.
pub struct Kafka {
    // Declared before the directory: the server ends before its files go.
    server: Option<Server>,
    brokers: String,
    addresses: Vec<(&'static str, String)>,
    directory: TempDir,
    jars: String,
}

impl Kafka {
    /// Formats new storage and starts a broker on it. Takes about five seconds, the very first time
    /// half a minute more.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&[], "")
    }

    /// The same with more listeners, and more settings.
    pub fn start_with(listeners: &[Listener], settings: &str) -> anyhow::Result<Self> {
        let jars = jars::class_path()?;
        let directory = tempfile::Builder::new().prefix("labelstream-kafka-").tempdir()?;
        let (port, controller_port) = (free_port()?, free_port()?);
        let files = directory.path();
        fs::write(files.join("log4j2.properties"), LOG_SETTINGS)?;
        let data = files.join("data");
        let data = data.to_str().context("the temporary directory's name is not UTF-8")?;
        let mut properties = server_properties(port, controller_port, data);
        let mut addresses = Vec::new();
        for listener in listeners {
            let address = format!("127.0.0.1:{}", free_port()?);
            properties = listener.added_to(&properties, &address);
            addresses.push((listener.name, address));
        }
        fs::write(files.join("server.properties"), properties + settings)?;
        let mut kafka = Self { server: None, brokers: format!("127.0.0.1:{port}"), addresses, directory, jars };
        kafka.format()?;
        kafka.start_again()?;
        Ok(kafka)
    }

    /// What this machine lacks to run it, in a sentence; nothing where it can be started.
    pub fn missing() -> anyhow::Result<Option<&'static str>> {
        jars::missing()
    }

    /// The broker's address, as `bootstrap.servers` wants it.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The address of one of the listeners that it was started with.
    pub fn listener(&self, name: &str) -> &str {
        let found = self.addresses.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, address)| address)
    }

    /// Creates a topic; one that exists is an error.
    pub fn create_topic(&self, name: &str, partitions: i32) -> anyhow::Result<()> {
        let mut config = ClientConfig::new();
        let admin: AdminClient<DefaultClientContext> = config.set("bootstrap.servers", &self.brokers).create()?;
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let patience = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let created = wait_for(async { Ok(admin.create_topics([&topic], &patience).await?) })?;
        match created.into_iter().next() {
            Some(Ok(_)) => Ok(()),
            Some(Err((name, error))) => bail!("cannot create the topic {name}: {error}"),
            None => bail!("cannot create the topic {name}: the broker said nothing about it"),
        }
    }

    /// The file that holds a partition's first records, to be damaged while the broker is stopped.
    pub fn log_file(&self, topic: &str, partition: i32) -> PathBuf {
        self.directory.path().join(format!("data/{topic}-{partition}/00000000000000000000.log"))
    }

    /// The process id of the broker; zero while it is stopped.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Server::pid)
    }

    /// Stops the broker in its orderly way and waits for its end.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }

    /// Ends the broker with SIGKILL, as a crash would, and waits for its end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.server.take().map_or(Ok(()), Server::kill)
    }

    /// Starts the stopped or killed broker on the same port and data.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.server.is_none(), "kafka runs already");
        let command = self.java("kafka.Kafka", &["server.properties"]);
        let launch = Launch {
            command: &command,
            directory: self.directory.path(),
            stop_signal: Signal::SIGTERM,
            abandon_signal: Signal::SIGKILL,
            user: None,
        };
        let log = self.directory.path().join(LOG);
        let starts = || fs::read_to_string(&log).map_or(0, |log| log.matches(STARTED).count());
        let starts_before = starts();
        let is_started = || starts() > starts_before;
        let server = Server::start(&launch).context("cannot start kafka")?;
        self.server = Some(server.wait_until(Duration::from_secs(60), is_started).context("cannot start kafka")?);
        Ok(())
    }

    fn format(&self) -> anyhow::Result<()> {
        let arguments = ["format", "-t", &cluster_id()?, "-c", "server.properties"];
        let output = self.java("kafka.tools.StorageTool", &arguments).output().context("cannot run java")?;
        if !output.status.success() {
            bail!("cannot format kafka's storage: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn java(&self, class: &str, arguments: &[&str]) -> Command {
        let mut java = Command::new("java");
        // Small and quick to start: a test's broker lives for minutes.
        java.args(["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-Dlog4j2.configurationFile=log4j2.properties", "-cp", &self.jars, class])
            .args(arguments)
            .current_dir(&self.directory);
        java
    }
}

/// A further port of a broker.
pub struct Listener {
    /// Its name, in capitals.
    pub name: &'static str,
    /// What is spoken there, such as `SASL_SSL`.
    pub protocol: &'static str,
    /// The address that the broker tells its clients, where that is another one.
    pub advertised: Option<&'static str>,
}

impl Listener {
    fn added_to(&self, properties: &str, address: &str) -> String {
        let Self { name, protocol, advertised } = self;
        let added = |line: &str| match line.split_once('=').map_or("", |(key, _)| key) {
            "listeners" => format!("{line},{name}://{address}\n"),
            "advertised.listeners" => format!("{line},{name}://{}\n", advertised.unwrap_or(address)),
            "listener.security.protocol.map" => format!("{line},{name}:{protocol}\n"),
            _ => format!("{line}\n"),
        };
        properties.lines().map(added).collect()
    }
}

/// The settings of a broker that is alone: one copy of everything, and no waiting for others.
fn server_properties(port: u16, controller_port: u16, data: &str) -> String {
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# A killed broker may come back under its name when its session has ended: soon.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# Tests kill consumers: a dead member keeps its partitions until its session ends, so let sessions be short.
group.min.session.timeout.ms=500
# The default takes a third of the heap.
log.cleaner.dedupe.buffer.size=4194304
"
    )
}

/// A random cluster id in the form that Kafka wants: 16 bytes in base64, of which 22 characters
/// count.
fn cluster_id() -> anyhow::Result<String> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";
    let letters = random_bytes::<21>()?.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    // The last character holds two bits only, and `A` is zero.
    Ok(letters.into_iter().chain(['A']).collect())
}
