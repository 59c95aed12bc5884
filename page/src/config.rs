//! The flags of the page.

use std::net::SocketAddr;
use std::path::PathBuf;

use service::{CacheArguments, DatabaseArguments, KafkaArguments, KafkaSettings};

/// Flags of `labelstream page`.
#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// Where Postgres is.
    #[command(flatten)]
    pub database: DatabaseArguments,

    /// Address to listen on
    #[arg(long, env = "LABELSTREAM_HTTP", default_value = "127.0.0.1:9102", value_name = "ADDRESS")]
    pub http: SocketAddr,

    /// File of the people who may use the page, a line each: name, role (viewer, labeler or
    /// operator) and token, separated by spaces. Needed beyond loopback; without it everybody on
    /// this machine is an operator
    #[arg(long, env = "LABELSTREAM_PEOPLE", value_name = "FILE")]
    pub people: Option<PathBuf>,

    /// Header in which a proxy, which alone reaches this page, names the person, such as
    /// X-Forwarded-User: no token is asked for. The role is the one in --people, else viewer
    #[arg(long, env = "LABELSTREAM_USER_HEADER", value_name = "NAME")]
    pub user_header: Option<String>,

    /// The pipeline that is shown: the consumers' group, unless they were told another name
    #[arg(long, env = "LABELSTREAM_PIPELINE", default_value = "labelstream")]
    pub pipeline: String,

    /// Checkpoint store, to ask models and to show which words decide, with up to four models in
    /// memory; without it the page shows what is in Postgres
    #[arg(long, env = "LABELSTREAM_CHECKPOINTS", value_name = "URL")]
    pub checkpoints: Option<String>,

    /// Where fetched checkpoints are kept.
    #[command(flatten)]
    pub cache: CacheArguments,

    /// Kafka brokers, for the lag, to replay dead letters, and for reviews to label while no model
    /// has labeled any
    #[arg(long, env = "LABELSTREAM_BROKERS", value_name = "HOST:PORT,...")]
    pub brokers: Option<String>,

    /// How to talk to Kafka.
    #[command(flatten)]
    pub kafka: KafkaSettings,

    /// Topic of the reviews
    #[arg(long, env = "LABELSTREAM_TOPIC", default_value = "reviews")]
    pub topic: String,

    /// JSON field that holds the text
    #[arg(long, env = "LABELSTREAM_TEXT_FIELD", default_value = "text")]
    pub text_field: String,

    /// JSON field that holds the review's id
    #[arg(long, env = "LABELSTREAM_ID_FIELD", default_value = "review_id")]
    pub id_field: String,

    /// Directory of a pretrained encoder, which tells better which reviews are unlike the others
    #[arg(long, env = "LABELSTREAM_ENCODER", value_name = "DIR")]
    pub encoder: Option<PathBuf>,

    /// Share of the reviews to label that is drawn from the stream at random, between 0 and 1
    #[arg(long, default_value_t = 0.2, value_parser = service::share_or_none)]
    pub audit_share: f64,
}

impl Config {
    /// Where Kafka is, if that was said.
    pub(crate) fn kafka(&self) -> Option<KafkaArguments> {
        let brokers = self.brokers.clone()?;
        Some(KafkaArguments { brokers, settings: self.kafka.clone() })
    }
}

impl Default for Config {
    /// The defaults of the command line; the database is for the caller to say.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            config: Config,
        }
        let alone: Alone = service::defaults(&[]).expect("defaults that cannot be read are a bug");
        // Without the secrets of this process's environment.
        Self { kafka: KafkaSettings::default(), ..alone.config }
    }
}
