//! What the consumer can be told.

use std::net::SocketAddr;
use std::time::Duration;

use classifier::{DeviceChoice, Precision};
use service::duration::{positive_seconds, seconds};
use service::http::AccessArguments;
use service::{CacheArguments, CheckpointArguments, DatabaseArguments, KafkaArguments};

/// Everything that can be set. Each flag has an environment variable; secrets belong there or in a
/// file, not on the command line.
#[derive(Clone, clap::Parser)]
#[command(name = "consumer", version, about = "labelstream's consumer: reads reviews from Kafka, classifies them, writes to Postgres", long_about = None)]
pub struct Config {
    /// Where Kafka is.
    #[command(flatten)]
    pub kafka: KafkaArguments,

    /// Topic to read reviews from
    #[arg(long, env = "LABELSTREAM_TOPIC", default_value = "reviews")]
    pub topic: String,

    /// Kafka consumer group: the consumers of a group share the partitions of the topic
    #[arg(long, env = "LABELSTREAM_GROUP", default_value = "labelstream")]
    pub group: String,

    /// Name of this stream in Postgres: its positions and predictions are kept under it [default:
    /// the group]
    #[arg(long, env = "LABELSTREAM_PIPELINE")]
    pub pipeline: Option<String>,

    /// Where a stream starts that was never read before; a partition that is added to the topic
    /// later is read from its first record
    #[arg(long, env = "LABELSTREAM_START", value_enum, default_value_t = Start::Earliest)]
    pub start: Start,

    /// What to do if Kafka has deleted records before they were read: record the gap and go on, or
    /// stop the partition
    #[arg(long, env = "LABELSTREAM_ON_GAP", value_enum, default_value_t = OnGap::Continue)]
    pub on_gap: OnGap,

    /// Where Postgres is.
    #[command(flatten)]
    pub database: DatabaseArguments,

    /// Where checkpoints are kept.
    #[command(flatten)]
    pub checkpoints: CheckpointArguments,

    /// Where fetched ones are kept.
    #[command(flatten)]
    pub cache: CacheArguments,

    /// Look for a new champion at least this often; Postgres usually reports one at once
    #[arg(long, env = "LABELSTREAM_RELOAD_INTERVAL", default_value = "10", value_parser = positive_seconds, value_name = "SECONDS")]
    pub reload_interval: Duration,

    /// Where the model runs: auto, cpu, cuda or cuda:N
    #[arg(long, env = "LABELSTREAM_DEVICE", default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,

    /// Precision of the model: f32, bf16 (GPU) or int8 (CPU: faster, a few answers differ)
    /// [default: f32 on the CPU, bf16 on a GPU]
    #[arg(long, env = "LABELSTREAM_PRECISION")]
    pub precision: Option<Precision>,

    /// Address to listen on, for /health, /metrics and /predict
    #[arg(long, env = "LABELSTREAM_HTTP", default_value = "127.0.0.1:9100", value_name = "ADDRESS")]
    pub http: SocketAddr,

    /// Who may ask over HTTP.
    #[command(flatten)]
    pub access: AccessArguments,

    /// Most tokens in a batch, estimated from the number of characters
    #[arg(long, env = "LABELSTREAM_MAX_BATCH_TOKENS", default_value_t = 32_768)]
    pub max_batch_tokens: usize,

    /// Most records in a batch
    #[arg(long, env = "LABELSTREAM_MAX_BATCH_REVIEWS", default_value_t = 1_024)]
    pub max_batch_reviews: usize,

    /// Longest time, in milliseconds, that a record waits for its batch to fill
    #[arg(long, env = "LABELSTREAM_MAX_BATCH_DELAY_MS", default_value_t = 20)]
    pub max_batch_delay_ms: u64,

    /// Share of the model's time that /predict may take while the stream has records to label,
    /// between 0 and 1
    #[arg(long, env = "LABELSTREAM_PREDICT_SHARE", default_value_t = 0.4, value_parser = share)]
    pub predict_share: f64,

    /// Cache the answers to this many recent texts; 0 turns the cache off
    #[arg(long, env = "LABELSTREAM_RECENT_TEXTS", default_value_t = 0)]
    pub recent_texts: usize,

    /// Largest value of a record, in bytes: a larger one becomes a dead letter
    #[arg(long, env = "LABELSTREAM_MAX_RECORD_BYTES", default_value_t = 262_144)]
    pub max_record_bytes: usize,

    /// Most bytes of memory for records between Kafka and Postgres, in all partitions together; one
    /// batch more may be read
    #[arg(long, env = "LABELSTREAM_MAX_IN_FLIGHT_BYTES", default_value_t = 64 << 20)]
    pub max_in_flight_bytes: usize,

    /// JSON field that holds the text
    #[arg(long, env = "LABELSTREAM_TEXT_FIELD", default_value = "text")]
    pub text_field: String,

    /// JSON field that holds the review's id
    #[arg(long, env = "LABELSTREAM_ID_FIELD", default_value = "review_id")]
    pub id_field: String,

    /// JSON field that holds the time at which the review was written
    #[arg(long, env = "LABELSTREAM_TIME_FIELD", default_value = "created_at")]
    pub time_field: String,

    /// Longest time, in seconds, to finish what was read after a signal to stop
    #[arg(long, env = "LABELSTREAM_GRACE", default_value = "20", value_parser = seconds, value_name = "SECONDS")]
    pub grace: Duration,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "must be a number, such as 0.4".to_owned())?;
    let is_share = 0.0 < share && share < 1.0;
    if is_share { Ok(share) } else { Err("must be above 0 and below 1".to_owned()) }
}

impl Config {
    /// The name under which positions and predictions are kept.
    pub fn pipeline(&self) -> &str {
        self.pipeline.as_deref().unwrap_or(&self.group)
    }
}

impl Default for Config {
    /// The defaults of the command line. Brokers, database and checkpoint store are empty: they are
    /// for the caller to say.
    fn default() -> Self {
        let defaults: Self = service::defaults(&[]).expect("defaults that cannot be read are a bug");
        // Without the secrets of this process's environment.
        Self { kafka: KafkaArguments::default(), access: AccessArguments::default(), ..defaults }
    }
}

/// Where a stream starts that has no positions yet.
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
    /// Stop the partition until someone has looked.
    Stop,
}
