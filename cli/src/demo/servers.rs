//! The servers of a demo, its own or the user's, and its directory.

use std::path::PathBuf;
use std::time::Duration;

use service::KafkaArguments;
use stack::{InProcessKafka, Postgres};
use tempfile::TempDir;

use super::Arguments;
use service::broker::Cluster;

/// Enough to see that partitions work side by side.
const PARTITIONS: i32 = 2;

/// Servers and files. The private ones end with it.
pub struct Servers {
    pub kafka: KafkaArguments,
    pub database_url: String,
    /// The checkpoint store.
    pub checkpoints: String,
    pub files: PathBuf,
    postgres: Option<Postgres>,
    broker: Option<InProcessKafka>,
    _files: Option<TempDir>,
}

impl Servers {
    /// Starts what the arguments do not name.
    pub async fn start(arguments: &Arguments) -> anyhow::Result<Self> {
        let files = tempfile::Builder::new().prefix("labelstream-demo-").tempdir()?;
        let path = files.path().to_owned();
        let (postgres, database_url) = match &arguments.database_url {
            Some(url) => (None, url.expose().to_owned()),
            None => {
                eprintln!("starting a private Postgres ...");
                let (postgres, url) = tokio::task::spawn_blocking(private_database).await??;
                (Some(postgres), url)
            }
        };
        let mut settings = arguments.kafka.clone();
        let (broker, brokers) = match &arguments.brokers {
            Some(brokers) => (None, brokers.clone()),
            None => {
                let broker = InProcessKafka::start()?;
                broker.create_topic(&arguments.topic, PARTITIONS)?;
                settings = settings.without_environment();
                let brokers = broker.brokers().to_owned();
                (Some(broker), brokers)
            }
        };
        let kafka = KafkaArguments { brokers, settings };
        let cluster = Cluster::connect(&kafka, Duration::from_secs(30)).await?;
        if broker.is_none() {
            cluster.create_topic(&arguments.topic, PARTITIONS).await?;
        }
        Ok(Self {
            kafka,
            checkpoints: format!("file://{}", path.join("checkpoints").display()),
            // A database that outlives the demo names a checkpoint that does so too.
            _files: if postgres.is_some() {
                Some(files)
            } else {
                drop(files.keep());
                None
            },
            files: path,
            postgres,
            database_url,
            broker,
        })
    }

    /// Whether the database is the demo's own, so that its password may be shown.
    pub fn database_is_private(&self) -> bool {
        self.postgres.is_some()
    }

    /// Whether the broker is the one inside the demo.
    pub fn broker_is_private(&self) -> bool {
        self.broker.is_some()
    }
}

fn private_database() -> anyhow::Result<(Postgres, String)> {
    let postgres = Postgres::start()?;
    let url = postgres.create_database("labelstream")?;
    Ok((postgres, url))
}
