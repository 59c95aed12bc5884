//! `labelstream demo`: the whole loop on this machine, with nothing to install.

mod narration;
mod reviews;
mod servers;
mod services;
mod simulated_people;
mod watch;

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use consumer::ModelSource;
use service::{KafkaSettings, Secret};
use store::Store;
use tokio_util::sync::CancellationToken;

use self::reviews::Reviews;
use self::servers::Servers;
use self::services::Addresses;
use self::watch::Watch;
use crate::publish::RateLimit;
use crate::reviews::message;
use service::broker::Publisher;

/// The pipeline's name in the database.
const PIPELINE: &str = "demo";

/// For those who watch, label and tell at the same time.
const CONNECTIONS: u32 = 4;

/// Flags of `labelstream demo`.
#[derive(clap::Args)]
pub struct Arguments {
    /// How many reviews to publish, or a file of your own reviews: a CSV or JSON lines with `text`
    /// (or `review`) and, to learn from, `label` [default: all of the project's own reviews that
    /// nobody has labeled before]
    #[arg(long, value_name = "N|FILE")]
    reviews: Option<Take>,

    /// Kafka brokers of your own [default: a broker inside the demo]
    #[arg(long, env = "LABELSTREAM_BROKERS", value_name = "HOST:PORT,...")]
    brokers: Option<String>,

    #[command(flatten)]
    kafka: KafkaSettings,

    /// An empty Postgres database of your own [default: a private server]
    #[arg(long, env = "LABELSTREAM_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<Secret>,

    /// Topic to publish to; it is created if there is none
    #[arg(long, env = "LABELSTREAM_TOPIC", default_value = "demo-reviews")]
    topic: String,

    /// Reviews to publish each second
    #[arg(long, default_value = "40", value_parser = crate::publish::positive)]
    rate: f64,

    /// Directory of a pretrained encoder, such as bge-small-zh: the models learn from it and from
    /// the reviews that nobody has labeled, and the summary says what that wins
    #[arg(long, env = "LABELSTREAM_ENCODER", value_name = "DIR")]
    encoder: Option<PathBuf>,

    /// End with a summary when all reviews are classified, instead of going on until Ctrl-C
    #[arg(long)]
    exit: bool,

    /// Print predictions and summary as JSON lines
    #[arg(long)]
    json: bool,
}

/// What `--reviews` says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Take {
    Number(usize),
    File(PathBuf),
}

impl FromStr for Take {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::File(text.into()), Self::Number))
    }
}

/// Runs the command. What it does goes to standard error, the labels to standard output.
pub async fn run(arguments: Arguments, shutdown: CancellationToken) -> anyhow::Result<()> {
    let reviews = Reviews::take(arguments.reviews.as_ref())?;
    if let Some(encoder) = &arguments.encoder {
        ensure!(encoder.is_dir(), "the encoder {} is no directory", encoder.display());
    }
    let Some(ready) = unless(&shutdown, prepare(&arguments, &reviews)).await? else {
        return Ok(());
    };
    let (servers, store) = ready;

    let stop = shutdown.child_token();
    let addresses = Addresses::free()?;
    let trainer = services::trainer(&arguments, &servers, &addresses, reviews.labeled.len());
    // Not a task of its own: what it does for longer than a moment it does on threads.
    let trainer = trainer::service::run(trainer, stop.clone());
    tokio::pin!(trainer);
    let consumer = services::consumer(&arguments, &servers, &addresses);
    let mut consumer = tokio::spawn(consumer::run(consumer, ModelSource::Registry, stop.clone()));
    let page = services::page(&arguments, &servers, &addresses);
    let mut page = tokio::spawn(page::run(page, stop.clone()));
    tell_where(&arguments, &servers, &addresses);

    let truth = reviews.truth();
    let mut watch = Watch::new(store.clone(), PIPELINE, &truth, arguments.json);
    let publisher = Publisher::open(&servers.kafka)?;
    let published = publish(&publisher, &arguments, &reviews.stream);
    let enough = arguments.exit.then_some(reviews.stream.len());
    let shown = async {
        watch.joined().await?;
        tokio::try_join!(published, watch.follow(enough))
    };
    // They label half of what comes, the half that is worth it.
    let a_second = (arguments.rate / 2.0).ceil() as u32;
    let ended = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        result = shown => result.map(|_| ()),
        result = simulated_people::label(&store, &truth, a_second) => result.context("the simulated reviewers"),
        result = narration::narrate(&store) => result,
        result = &mut trainer => Err(stopped_early("trainer", result)),
        result = &mut page => Err(stopped_early("page", result.map_err(Into::into).flatten())),
        result = &mut consumer => Err(stopped_early("consumer", result.map_err(Into::into).flatten())),
    };
    stop.cancel();
    if ended.is_ok() {
        trainer.await.context("the trainer")?;
        consumer.await.context("the consumer")?.context("the consumer")?;
        page.await.context("the page")?.context("the page")?;
    }
    ended?;
    watch.summary().await?;
    store.close().await;
    // The servers end here, and everything that they held.
    drop(servers);
    Ok(())
}

/// Servers, schema, and what people have labeled before.
async fn prepare(arguments: &Arguments, reviews: &Reviews) -> anyhow::Result<(Servers, Store)> {
    let servers = Servers::start(arguments).await?;
    let store = Store::connect(&servers.database_url, CONNECTIONS).await.context("the database cannot be used")?;
    store.migrate().await?;
    if let Some(champion) = store.champion().await? {
        bail!("version {} serves in this database already: the demo wants one of its own", champion.version);
    }
    let labels = simulated_people::labeled_before(&store, reviews).await?;
    eprintln!("people have labeled {labels} reviews; the trainer makes a first model of them ...");
    Ok((servers, store))
}

/// The future's result, or none if `shutdown` comes first.
async fn unless<T>(
    shutdown: &CancellationToken,
    future: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<Option<T>> {
    tokio::select! {
        result = future => result.map(Some),
        () = shutdown.cancelled() => Ok(None),
    }
}

fn tell_where(arguments: &Arguments, servers: &Servers, addresses: &Addresses) {
    let brokers = &servers.kafka.brokers;
    eprintln!();
    eprintln!("Page      http://{}: label reviews, and watch the models get better", addresses.page);
    eprintln!("Kafka     {brokers}, topic {}", arguments.topic);
    eprintln!("          echo '很快，好吃' | labelstream publish - --brokers {brokers} --topic {}", arguments.topic);
    if servers.database_is_private() {
        eprintln!("Postgres  psql {}", servers.database_url);
    } else {
        eprintln!("Postgres  the database at --database-url");
    }
    eprintln!("          select label, count(*), avg(score) from predictions group by label;");
    eprintln!("          select text, label, score from predictions where score < 0.75 order by score limit 10;");
    eprintln!("          insert into labels (review_id, label) values ('demo-1', '好评');");
    eprintln!("HTTP      http://{0}/metrics, http://{0}/health/ready", addresses.consumer);
    eprintln!("          http://{}/metrics (the trainer's)", addresses.trainer);
    eprintln!();
}

async fn publish(publisher: &Publisher, arguments: &Arguments, stream: &[reviews::Review]) -> anyhow::Result<()> {
    let limit = RateLimit::start(Some(arguments.rate));
    for (number, review) in stream.iter().enumerate() {
        limit.wait(number).await;
        publisher
            .send(&arguments.topic, &message(review.id.clone(), &review.text, serde_json::Map::new()), number)
            .await;
    }
    if let Some((_, why)) = publisher.finish().await.first() {
        bail!("reviews could not be published: {why}");
    }
    if !arguments.exit {
        eprintln!("all {} reviews are published; waiting for yours (Ctrl-C ends the demo)", stream.len());
    }
    Ok(())
}

fn stopped_early(service: &str, result: anyhow::Result<()>) -> anyhow::Error {
    let stopped = format!("the {service} stopped");
    match result {
        Ok(()) => anyhow::anyhow!(stopped),
        Err(error) => error.context(stopped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reviews_is_a_number_or_a_file() {
        assert_eq!("40".parse(), Ok(Take::Number(40)));
        assert_eq!("mine.csv".parse(), Ok(Take::File("mine.csv".into())));
    }
}
