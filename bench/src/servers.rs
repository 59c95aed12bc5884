//! What a stream is measured between: a broker and a database, private ones unless told.

use service::{KafkaArguments, KafkaSettings, Secret};
use stack::{Kafka, Postgres};

/// Where the servers are.
#[derive(clap::Args, Clone)]
pub struct ServerArguments {
    /// A Kafka of your own; without it, a private Apache Kafka is started.
    #[arg(long, env = "LABELSTREAM_BROKERS", value_name = "HOST:PORT,...")]
    brokers: Option<String>,

    #[command(flatten)]
    kafka: KafkaSettings,

    /// A Postgres database of your own; without it, a private server is started.
    #[arg(long, env = "LABELSTREAM_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<Secret>,
}

/// Servers; the private ones end with it.
pub struct Servers {
    /// The broker.
    pub kafka: KafkaArguments,
    /// The database.
    pub database_url: String,
    _kafka: Option<Kafka>,
    _postgres: Option<Postgres>,
}

impl Servers {
    /// Starts what the arguments do not name.
    pub fn start(arguments: ServerArguments) -> anyhow::Result<Self> {
        let mut settings = arguments.kafka;
        let (kafka, brokers) = match arguments.brokers {
            Some(brokers) => (None, brokers),
            None => {
                eprintln!("starting a private Apache Kafka ...");
                let kafka = Kafka::start()?;
                settings = settings.without_environment();
                let brokers = kafka.brokers().to_owned();
                (Some(kafka), brokers)
            }
        };
        let (postgres, database_url) = match arguments.database_url {
            Some(url) => (None, url.expose().to_owned()),
            None => {
                eprintln!("starting a private Postgres ...");
                let postgres = Postgres::start()?;
                let url = postgres.create_database("bench")?;
                (Some(postgres), url)
            }
        };
        let kafka_arguments = KafkaArguments { brokers, settings };
        Ok(Self { kafka: kafka_arguments, database_url, _kafka: kafka, _postgres: postgres })
    }
}
