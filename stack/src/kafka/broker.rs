//! One broker: a process that is controller as well, with a log directory of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::machine::{free_port, random_bytes};
use crate::server::{LOG, Launch, Server};

/// The file of its settings.
const SETTINGS: &str = "server.properties";
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

/// A broker's number, and its ports.
#[derive(Clone, Copy)]
pub(super) struct Peer {
    id: u32,
    port: u16,
    controller_port: u16,
}

impl Peer {
    pub fn new(id: u32) -> anyhow::Result<Self> {
        Ok(Self { id, port: free_port()?, controller_port: free_port()? })
    }
}

/// A broker of a [`Kafka`](super::Kafka).
pub struct Broker {
    // Declared before the directory: the server ends before its files go.
    server: Option<Server>,
    address: SocketAddr,
    directory: TempDir,
    jars: String,
}

impl Broker {
    pub(super) fn new(peer: Peer, peers: &[Peer], jars: String) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("labelstream-kafka-").tempdir()?;
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, peer.port).into();
        let files = directory.path();
        fs::write(files.join("log4j2.properties"), LOG_SETTINGS)?;
        let data = files.join("data");
        let data = data.to_str().context("the temporary directory's name is not UTF-8")?;
        let settings = server_properties(peer, peers, address, data);
        fs::write(files.join(SETTINGS), settings)?;
        Ok(Self { server: None, address, directory, jars })
    }

    /// Changes the settings of a broker that does not run yet.
    pub(super) fn change_settings(&self, change: impl FnOnce(&str) -> String) -> anyhow::Result<()> {
        let file = self.directory.path().join(SETTINGS);
        let changed = change(&fs::read_to_string(&file)?);
        Ok(fs::write(file, changed)?)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file that holds a partition's first records, to be damaged while the broker is stopped.
    pub fn log_file(&self, topic: &str, partition: i32) -> PathBuf {
        self.data().join(format!("{topic}-{partition}/00000000000000000000.log"))
    }

    /// Its process id; zero while it is stopped.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Server::pid)
    }

    /// Stops it in its orderly way and waits for its end.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }

    /// Ends it with SIGKILL, as a crash would, and waits for its end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.server.take().map_or(Ok(()), Server::kill)
    }

    /// Stops it where it is (SIGSTOP): its connections stay, and nothing answers on them.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Starts it, on the same port and data as before.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.server.is_none(), "kafka runs already");
        let command = self.java("kafka.Kafka", &[SETTINGS]);
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

    /// Makes its storage new and empty.
    pub(super) fn format(&self, cluster: &str) -> anyhow::Result<()> {
        ensure!(self.server.is_none(), "kafka runs");
        if self.data().is_dir() {
            fs::remove_dir_all(self.data())?;
        }
        let arguments = ["format", "-t", cluster, "-c", SETTINGS];
        let output = self.java("kafka.tools.StorageTool", &arguments).output().context("cannot run java")?;
        if !output.status.success() {
            bail!("cannot format kafka's storage: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.server.as_ref().context("kafka does not run")?.signal(signal)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
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

/// The settings of a broker: a copy of everything on each of its peers.
fn server_properties(peer: Peer, peers: &[Peer], address: SocketAddr, data: &str) -> String {
    let Peer { id, port, controller_port } = peer;
    let voters = peers.iter().map(|peer| format!("{}@127.0.0.1:{}", peer.id, peer.controller_port));
    let voters = voters.collect::<Vec<_>>().join(",");
    let copies = peers.len();
    format!(
        "\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://{address}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# A killed broker may come back under its name when its session has ended: soon.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# Tests kill consumers: a dead member keeps its partitions until its session ends, so let sessions be short.
group.min.session.timeout.ms=500
# Tests take one of several brokers away: the others are to go on soon.
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
replica.lag.time.max.ms=3000
# The default takes a third of the heap.
log.cleaner.dedupe.buffer.size=4194304
"
    )
}

/// A random cluster id in the form that Kafka wants: 16 bytes in base64, of which 22 characters
/// count.
pub(super) fn cluster_id() -> anyhow::Result<String> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";
    let letters = random_bytes::<21>()?.map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    // The last character holds two bits only, and `A` is zero.
    Ok(letters.into_iter().chain(['A']).collect())
}
