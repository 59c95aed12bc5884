use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use classifier::{DeviceChoice, Precision};

/// Everything that can be set. Each flag has an environment variable; secrets belong there or in a file, not on the command line.
#[derive(Clone, clap::Parser)]
#[command(name = "consumer", version, about = "labelstream's consumer: reviews from Kafka, labels into Postgres", long_about = None)]
pub struct Config {
    /// Kafka brokers to start from, separated by commas
    #[arg(long, env = "LABELSTREAM_BROKERS", value_name = "HOST:PORT")]
    pub brokers: String,

    /// Topic to read reviews from
    #[arg(long, env = "LABELSTREAM_TOPIC", default_value = "reviews")]
    pub topic: String,

    /// Kafka consumer group: the consumers of a group share the partitions of the topic
    #[arg(long, env = "LABELSTREAM_GROUP", default_value = "labelstream")]
    pub group: String,

    /// Name under which positions and predictions are kept in Postgres [default: the group]
    #[arg(long, env = "LABELSTREAM_PIPELINE")]
    pub pipeline: Option<String>,

    /// Where a partition starts that has no position yet
    #[arg(long, env = "LABELSTREAM_START", value_enum, default_value_t = Start::Earliest)]
    pub start: Start,

    /// What to do where Kafka has deleted records before they were read: record the gap and go on, or stop the partition
    #[arg(long, env = "LABELSTREAM_ON_GAP", value_enum, default_value_t = OnGap::Continue)]
    pub on_gap: OnGap,

    /// A librdkafka property, key=value; may be given several times
    #[arg(
        short = 'X',
        long = "kafka-property",
        env = "LABELSTREAM_KAFKA_PROPERTY",
        value_name = "KEY=VALUE",
        value_delimiter = ';'
    )]
    pub kafka_properties: Vec<KafkaProperty>,

    /// A file of librdkafka properties, one key=value a line: the place for passwords
    #[arg(long, env = "LABELSTREAM_KAFKA_CONFIG", value_name = "FILE")]
    pub kafka_config: Option<PathBuf>,

    /// Properties that the environment holds; see [`Config::take_kafka_secrets`]
    #[arg(skip)]
    pub kafka_secrets: Vec<KafkaProperty>,

    /// Postgres database, postgres://user:password@host:port/database
    #[arg(long, env = "LABELSTREAM_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: String,

    /// Connections to Postgres, which is how many partitions are written at the same time
    #[arg(long, env = "LABELSTREAM_DATABASE_CONNECTIONS", default_value_t = 4)]
    pub database_connections: u32,

    /// Checkpoint store: a file:// or s3:// URL (the latter with the AWS_ environment variables), or a path
    #[arg(long, env = "LABELSTREAM_CHECKPOINTS", value_name = "URL")]
    pub checkpoints: String,

    /// Directory for checkpoints fetched from the store [default: a directory for temporary files]
    #[arg(long, env = "LABELSTREAM_CACHE", value_name = "DIRECTORY")]
    pub cache: Option<PathBuf>,

    /// Seconds between two looks for a new champion, at most: word of one comes sooner, unless it is lost
    #[arg(long, env = "LABELSTREAM_RELOAD_INTERVAL", default_value = "10", value_parser = some_seconds, value_name = "SECONDS")]
    pub reload_interval: Duration,

    /// Where the model runs: auto, cpu, cuda or cuda:N
    #[arg(long, env = "LABELSTREAM_DEVICE", default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,

    /// What the model computes with: f32, bf16 on a GPU, or int8 on the CPU, which is quicker and now and then says another label; by default f32 on the CPU and bf16 on a GPU; every prediction names it
    #[arg(long, env = "LABELSTREAM_PRECISION")]
    pub precision: Option<Precision>,

    /// Address of health, metrics and predictions
    #[arg(long, env = "LABELSTREAM_HTTP", default_value = "127.0.0.1:9100", value_name = "ADDRESS")]
    pub http: SocketAddr,

    /// Tokens in a batch, at most, as estimated from the characters
    #[arg(long, env = "LABELSTREAM_MAX_BATCH_TOKENS", default_value_t = 32_768)]
    pub max_batch_tokens: usize,

    /// Records in a batch, at most
    #[arg(long, env = "LABELSTREAM_MAX_BATCH_REVIEWS", default_value_t = 1_024)]
    pub max_batch_reviews: usize,

    /// Milliseconds that the first record of a batch waits for others, at most
    #[arg(long, env = "LABELSTREAM_MAX_BATCH_DELAY_MS", default_value_t = 20)]
    pub max_batch_delay_ms: u64,

    /// Different texts whose answers are remembered, so that the model is not asked again; 0 remembers none
    #[arg(long, env = "LABELSTREAM_RECENT_TEXTS", default_value_t = 0)]
    pub recent_texts: usize,

    /// Bytes of a record's value, at most: a larger one becomes a dead letter
    #[arg(long, env = "LABELSTREAM_MAX_RECORD_BYTES", default_value_t = 262_144)]
    pub max_record_bytes: usize,

    /// JSON field that holds the text
    #[arg(long, env = "LABELSTREAM_TEXT_FIELD", default_value = "text")]
    pub text_field: String,

    /// JSON field that holds the review's id
    #[arg(long, env = "LABELSTREAM_ID_FIELD", default_value = "review_id")]
    pub id_field: String,

    /// JSON field that holds the time the review was written
    #[arg(long, env = "LABELSTREAM_TIME_FIELD", default_value = "created_at")]
    pub time_field: String,

    /// Seconds to finish what is in flight after a signal to stop
    #[arg(long, env = "LABELSTREAM_GRACE", default_value = "20", value_parser = seconds, value_name = "SECONDS")]
    pub grace: Duration,
}

impl Config {
    /// The name under which positions and predictions are kept.
    pub fn pipeline(&self) -> &str {
        self.pipeline.as_deref().unwrap_or(&self.group)
    }

    /// Takes librdkafka's secrets out of an environment: `LABELSTREAM_KAFKA_SASL_PASSWORD` is `sasl.password`, and so on for
    /// every property that begins with `sasl.` or `ssl.`.
    pub fn take_kafka_secrets(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        let secrets = environment.into_iter().filter_map(|(name, value)| {
            let key = name.strip_prefix("LABELSTREAM_KAFKA_")?.to_lowercase().replace('_', ".");
            let known = key.starts_with("sasl.") || key.starts_with("ssl.") || key == "security.protocol";
            known.then_some(KafkaProperty { key, value })
        });
        self.kafka_secrets.extend(secrets);
    }
}

/// Where a partition starts that has no position yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Start {
    /// At the oldest record that Kafka still has.
    Earliest,
    /// After the newest record.
    Latest,
}

/// What to do where Kafka has deleted records before they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OnGap {
    /// Record the gap and go on at the oldest record there is.
    Continue,
    /// Record the gap and stop the partition until someone has looked.
    Stop,
}

/// One `key=value` for librdkafka. Its `Debug` does not show the value, which may be a password.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaProperty {
    /// librdkafka's name of the property.
    pub key: String,
    /// Its value, which may be secret.
    pub value: String,
}

impl std::fmt::Debug for KafkaProperty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=...", self.key)
    }
}

impl FromStr for KafkaProperty {
    type Err = String;

    fn from_str(property: &str) -> Result<Self, Self::Err> {
        // The message must not repeat the value: it may be a password.
        let (key, value) = property.split_once('=').ok_or("expected key=value")?;
        Ok(Self { key: key.trim().to_owned(), value: value.trim().to_owned() })
    }
}

fn seconds(seconds: &str) -> Result<Duration, String> {
    let seconds = seconds.parse::<f64>().map_err(|error| error.to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    seconds(text).and_then(|some| if some.is_zero() { Err("more than none".to_owned()) } else { Ok(some) })
}
