//! `labelstream publish`: reviews from a file, or from standard input, to a topic.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::ProgressBar;
use service::KafkaArguments;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::dataset_flags::FileFlags;
use crate::{print, reviews};
use service::broker::{Cluster, Publisher, Record};

/// Flags of `labelstream publish`.
#[derive(clap::Args)]
pub struct Arguments {
    /// File of reviews: a .csv, a .jsonl with a message a line, a .txt with a review a line, or -
    /// for standard input (a line that begins with `{` is a message, any other a review). A file is
    /// read to its end before anything is published; of a broken pipe, what stands before the
    /// broken line is published
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    format: FileFlags,

    #[command(flatten)]
    kafka: KafkaArguments,

    /// Topic to publish to
    #[arg(long, env = "LABELSTREAM_TOPIC", default_value = "reviews")]
    topic: String,

    /// Column of the texts in a CSV [default: text or review]
    #[arg(long)]
    text_column: Option<String>,

    /// Reviews to publish each second [default: as many as the brokers take]
    #[arg(long, value_parser = positive)]
    rate: Option<f64>,

    /// Stop after this many reviews
    #[arg(long)]
    count: Option<usize>,

    /// Create the topic with this many partitions if there is none
    #[arg(long, value_name = "PARTITIONS", value_parser = clap::value_parser!(i32).range(1..))]
    create_topic: Option<i32>,

    /// Seconds to wait for a broker
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    patience: u64,

    /// Print the summary as a JSON object
    #[arg(long)]
    json: bool,
}

/// A rate.
pub fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate| *rate > 0.0 && f64::is_finite(*rate))
        .ok_or_else(|| "expected a number above 0".into())
}

/// Runs the command.
pub async fn run(arguments: Arguments, shutdown: CancellationToken) -> anyhow::Result<ExitCode> {
    let (file, column, options) = (arguments.file.clone(), arguments.text_column.clone(), arguments.format.options());
    let count = arguments.count.unwrap_or(usize::MAX);
    let open = move || Ok(reviews::open(&file, column.as_deref(), options)?.take(count));
    // Standard input is opened later, where nobody waits until somebody has typed something.
    let opened = if arguments.file.as_os_str() == "-" {
        None
    } else {
        let (file, column) = (arguments.file.clone(), arguments.text_column.clone());
        let check = spawn_blocking(move || reviews::check(&file, column.as_deref(), options, count));
        let Some(checked) = shutdown.run_until_cancelled(check).await else { return Ok(service::interrupted()) };
        checked??;
        Some(open()?)
    };
    let connect = Cluster::connect(&arguments.kafka, Duration::from_secs(arguments.patience));
    let Some(cluster) = shutdown.run_until_cancelled(connect).await else { return Ok(service::interrupted()) };
    let cluster = cluster?;
    if let Some(partitions) = arguments.create_topic {
        cluster.create_topic(&arguments.topic, partitions).await?;
    }
    let Some(partitions) = cluster.partitions(&arguments.topic).await? else {
        bail!(
            "there is no topic {:?} at {}: --create-topic 4 makes it, with 4 partitions",
            arguments.topic,
            arguments.kafka.brokers
        );
    };
    tracing::debug!(partitions, "found the topic");

    let publisher = Publisher::open(&arguments.kafka)?;
    let records = read_ahead(move || opened.map_or_else(open, Ok));
    let progress = print::progress_bar(None, "{spinner} {human_pos} published, {per_sec}, {elapsed}");
    let started = Instant::now();
    let unreadable = stream(&publisher, &arguments.topic, records, arguments.rate, &shutdown, &progress).await.err();
    let failed = publisher.settled(&shutdown).await;
    progress.finish_and_clear();

    let seconds = started.elapsed().as_secs_f64();
    let published = publisher.delivered();
    let a_second = published as f64 / seconds.max(f64::MIN_POSITIVE);
    if arguments.json {
        println!(
            "{}",
            serde_json::json!({
                "published": published, "failed": failed.len(), "topic": arguments.topic,
                "seconds": seconds, "records_per_second": a_second,
            })
        );
    } else {
        println!(
            "published {published} reviews to topic {} in {seconds:.1} s ({a_second:.0} a second)",
            arguments.topic
        );
    }
    let undelivered = failed.first().map(|(number, why)| {
        format!("{} reviews were not delivered, the first of them the {}th: {why}", failed.len(), number + 1)
    });
    match (unreadable, undelivered) {
        (Some(error), None) => Err(error.context(format!("stopped after {published} reviews were published"))),
        (Some(error), Some(undelivered)) => Err(error.context(undelivered)),
        (None, Some(undelivered)) => bail!(undelivered),
        (None, None) if shutdown.is_cancelled() => {
            eprintln!("interrupted: {published} reviews were published, and no more");
            Ok(service::interrupted())
        }
        (None, None) => Ok(ExitCode::SUCCESS),
    }
}

/// Reads on a thread of its own, so that a slow standard input does not keep Ctrl-C waiting.
fn read_ahead(
    open: impl FnOnce() -> anyhow::Result<std::iter::Take<reviews::Records>> + Send + 'static,
) -> mpsc::Receiver<anyhow::Result<Record>> {
    // Enough to ride out a pause of the disk.
    let (sender, receiver) = mpsc::channel(1000);
    std::thread::spawn(move || {
        let records = match open() {
            Ok(records) => records,
            // Whoever does not want it any more has gone.
            Err(error) => return drop(sender.blocking_send(Err(error))),
        };
        for record in records {
            let ends = record.is_err();
            if sender.blocking_send(record).is_err() || ends {
                return;
            }
        }
    });
    receiver
}

/// Sends records at a rate, until they end or `shutdown`.
async fn stream(
    publisher: &Publisher,
    topic: &str,
    mut records: mpsc::Receiver<anyhow::Result<Record>>,
    rate: Option<f64>,
    shutdown: &CancellationToken,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let limit = RateLimit::start(rate);
    for number in 0.. {
        let record = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            record = records.recv() => record,
        };
        let Some(record) = record else { break };
        let record = record?;
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = limit.wait(number) => {}
        }
        tokio::select! {
            () = publisher.send(topic, &record, number) => {}
            () = shutdown.cancelled() => break,
        }
        progress.set_position(publisher.delivered());
    }
    Ok(())
}

/// An even rate: the n-th record is due n/rate seconds after the first, whatever came between.
pub struct RateLimit {
    started: Instant,
    rate: Option<f64>,
}

impl RateLimit {
    pub fn start(rate: Option<f64>) -> Self {
        Self { started: Instant::now(), rate }
    }

    pub async fn wait(&self, number: usize) {
        if let Some(rate) = self.rate {
            let due = self.started + Duration::from_secs_f64(number as f64 / rate);
            tokio::time::sleep_until(due.into()).await;
        }
    }
}
