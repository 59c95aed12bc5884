//! `labelstream positions`: where partitions stand, moved by a person's word.

use std::time::Duration;

use anyhow::{bail, ensure};
use service::broker::Cluster;
use service::{DatabaseArguments, KafkaArguments, KafkaSettings};
use store::{NextOffset, PartitionStatus};

/// What to do with positions.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Give up records that can never be read, such as those of a corrupt batch: they are recorded as a
    /// gap, and whoever reads the partition goes on behind them.
    Skip(Skip),
}

/// Flags of `labelstream positions skip`.
#[derive(clap::Args)]
pub struct Skip {
    #[command(flatten)]
    database: DatabaseArguments,

    /// The pipeline: the consumers' group, unless they were told another name.
    #[arg(long, env = "LABELSTREAM_PIPELINE", default_value = "labelstream")]
    pipeline: String,

    /// The topic.
    #[arg(long, env = "LABELSTREAM_TOPIC", default_value = "reviews")]
    topic: String,

    /// The partition's number.
    #[arg(long)]
    partition: i32,

    /// The position as it is, which confirms the loss; without it, the command only says what would
    /// be lost.
    #[arg(long, value_name = "OFFSET")]
    from: Option<i64>,

    /// The offset to go on at: the first one that is not given up.
    #[arg(long, value_name = "OFFSET")]
    to: i64,

    /// Why, for the record.
    #[arg(long, default_value = "no reason given")]
    reason: String,

    /// Kafka's bootstrap servers, to make sure that the offset is one of the partition.
    #[arg(long, env = "LABELSTREAM_BROKERS", value_name = "HOST:PORT,...")]
    brokers: Option<String>,

    #[command(flatten)]
    kafka: KafkaSettings,

    /// The id of the Kafka cluster, where topics of this name were read from several.
    #[arg(long, value_name = "ID")]
    cluster: Option<String>,
}

/// Runs the command.
pub async fn run(command: Command) -> anyhow::Result<()> {
    let Command::Skip(skip) = command;
    skip.run().await
}

impl Skip {
    async fn run(self) -> anyhow::Result<()> {
        let store = self.database.connect().await?;
        let status = store.status(&self.pipeline).await?;
        let found = self.find(&status.partitions)?;
        let (name, position) = (format!("{}/{}", self.topic, self.partition), found.next_offset.0);
        ensure!(self.to > position, "{name} stands at {position}: --to must be beyond that");
        let lost = self.to - position;
        self.check_end(lost).await?;
        match self.from {
            None => {
                let why = found.last_error.as_deref().map_or(String::new(), |why| format!(" ({why})"));
                bail!(
                    "nothing was skipped: {name} stands at {position}{why}; going on at {} gives up {lost} offsets for \
                     good. To do that, add --from {position}",
                    self.to
                );
            }
            Some(from) => ensure!(from == position, "nothing was skipped: {name} stands at {position}, not at {from}"),
        }
        let range = (NextOffset(position), NextOffset(self.to));
        let reason = format!("skipped by hand: {}", self.reason);
        let skipped = store.skip(&found.stream, self.partition, range, &reason).await?;
        ensure!(skipped, "nothing was skipped: {name} has moved on from {position} meanwhile");
        println!("{name}: the {lost} offsets from {position} on are recorded as a gap; it is read on at {}", self.to);
        Ok(())
    }

    fn find<'a>(&self, partitions: &'a [PartitionStatus]) -> anyhow::Result<&'a PartitionStatus> {
        let this = |found: &&PartitionStatus| {
            found.partition == self.partition
                && found.stream.topic == self.topic
                && self.cluster.as_ref().is_none_or(|cluster| *cluster == found.stream.cluster_id)
        };
        let mut found = partitions.iter().filter(this);
        match (found.next(), found.next()) {
            (Some(found), None) => Ok(found),
            (None, _) => bail!(
                "pipeline {} has no position of {}/{}: `labelstream status` shows those that it has",
                self.pipeline,
                self.topic,
                self.partition
            ),
            (Some(one), Some(other)) => bail!(
                "topic {} was read from several clusters: say which one with --cluster {} or --cluster {}",
                self.topic,
                one.stream.cluster_id,
                other.stream.cluster_id
            ),
        }
    }

    /// A position beyond the end would halt the partition as one of another topic.
    async fn check_end(&self, lost: i64) -> anyhow::Result<()> {
        let Some(brokers) = &self.brokers else { return Ok(()) };
        let kafka = KafkaArguments { brokers: brokers.clone(), settings: self.kafka.clone() };
        let cluster = Cluster::connect(&kafka, Duration::from_secs(5)).await?;
        let partitions = cluster.partitions(&self.topic).await?.unwrap_or_default();
        let ends = cluster.ends(&self.topic, partitions).await?;
        let end = usize::try_from(self.partition).ok().and_then(|partition| ends.get(partition));
        let Some(end) = end else { bail!("Kafka has no partition {}/{}", self.topic, self.partition) };
        ensure!(self.to <= *end, "{lost} offsets are more than there are: the partition ends at {end}");
        Ok(())
    }
}
