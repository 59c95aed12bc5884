//! `labelstream demo`: the whole loop on this machine, with nothing to install.

mod place;
mod reviews;
mod teach;
mod watch;

use std::net::TcpListener;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::Parser;
use consumer::ModelSource;
use store::Store;
use tokio_util::sync::CancellationToken;

use self::place::Place;
use self::reviews::Reviews;
use self::watch::Watch;
use crate::kafka::{KafkaSettings, Publisher};
use crate::models;
use crate::publish::Pace;
use crate::reviews::message;

/// The pipeline's name in the database.
const PIPELINE: &str = "demo";

/// Flags of `labelstream demo`.
#[derive(clap::Args)]
pub struct Arguments {
    /// How many reviews to publish, or a CSV of your own to take them from: columns `text` (or `review`) and, to learn from,
    /// `label`. Without it, all reviews of the project's own that the model has not learned from.
    #[arg(long, env = "LABELSTREAM_REVIEWS", value_name = "N|FILE.csv")]
    reviews: Option<Take>,

    /// A Kafka of your own; without it, a broker runs inside the demo.
    #[arg(long, env = "LABELSTREAM_BROKERS", value_name = "HOST:PORT,...")]
    brokers: Option<String>,

    #[command(flatten)]
    kafka: KafkaSettings,

    /// An empty Postgres database of your own; without it, the demo starts a private server.
    #[arg(long, env = "LABELSTREAM_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,

    /// The topic to publish to; it is made if there is none.
    #[arg(long, env = "LABELSTREAM_TOPIC", default_value = "demo-reviews")]
    topic: String,

    /// Publish so many reviews a second.
    #[arg(long, env = "LABELSTREAM_RATE", default_value = "20", value_parser = crate::publish::positive)]
    rate: f64,

    /// End with a summary when all reviews have been labeled, instead of going on until Ctrl-C.
    #[arg(long, env = "LABELSTREAM_EXIT")]
    exit: bool,

    /// Print labels and summary as JSON lines.
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
    let Some(ready) = unless(&shutdown, prepare(&arguments, &reviews)).await? else {
        return Ok(());
    };
    let (place, store) = ready;

    let stop = shutdown.child_token();
    let http = free_address()?;
    let consumer = consumer_configuration(&arguments, &place, &http)?;
    let mut consumer = tokio::spawn(consumer::run(consumer, ModelSource::Registry, stop.clone()));
    tell_where(&arguments, &place, &http);

    let truth = reviews.labels();
    let mut watch = Watch::new(store, PIPELINE, &truth, arguments.json);
    let publisher = Publisher::open(&place.kafka)?;
    let published = publish(&publisher, &arguments, &reviews.stream);
    let enough = arguments.exit.then_some(reviews.stream.len());
    let shown = async {
        watch.joined().await?;
        tokio::try_join!(published, watch.follow(enough))
    };
    let ended = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        result = shown => result.map(|_| ()),
        result = &mut consumer => bail!(stopped_early(result)),
    };
    stop.cancel();
    consumer.await.context("the consumer")?.context("the consumer")?;
    ended?;
    watch.summary()?;
    // The servers end here, and everything that they held.
    drop(place);
    Ok(())
}

/// Servers, schema, and a first model that is the champion.
async fn prepare(arguments: &Arguments, reviews: &Reviews) -> anyhow::Result<(Place, Store)> {
    let place = Place::start(arguments).await?;
    let store = crate::database::connect(&place.database_url).await?;
    store.migrate().await?;
    if let Some(champion) = store.champion().await? {
        bail!("version {} serves in this database already: the demo wants one of its own", champion.version);
    }
    let directory = place.files.join("model");
    teach::teach(reviews, &place.files, &directory).await?;
    let model = models::register(&store, &place.checkpoints, &directory).await?;
    models::promote_over_the_champion(&store, model.version, "the demo's first model").await?;
    eprintln!("registered it as version {} and made it the champion", model.version);
    Ok((place, store))
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

/// The consumer as its command line would have it: whatever else the environment sets holds here too.
fn consumer_configuration(arguments: &Arguments, place: &Place, http: &str) -> anyhow::Result<consumer::Config> {
    let mut words = vec!["consumer".to_owned()];
    let cache = place.files.join("cache").display().to_string();
    let flags = [
        ("--brokers", place.kafka.brokers.as_str()),
        ("--topic", &arguments.topic),
        ("--group", PIPELINE),
        ("--pipeline", PIPELINE),
        ("--database-url", &place.database_url),
        ("--checkpoints", &place.checkpoints),
        ("--cache", &cache),
        ("--http", http),
    ];
    words.extend(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]));
    if place.broker_is_private() {
        // The in-process broker answers a fetch that found nothing only when the wait is over.
        words.push("-Xfetch.wait.max.ms=20".to_owned());
    }
    words.extend(place.kafka.settings.as_flags());
    Ok(consumer::Config::try_parse_from(words)?)
}

/// The consumer's usual address, or another if something listens there.
fn free_address() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:9100").or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
    Ok(listener.local_addr()?.to_string())
}

fn tell_where(arguments: &Arguments, place: &Place, http: &str) {
    let brokers = &place.kafka.brokers;
    eprintln!();
    eprintln!("Kafka     {brokers}, topic {}", arguments.topic);
    eprintln!("          echo '很快，好吃' | labelstream publish - --brokers {brokers} --topic {}", arguments.topic);
    if place.database_is_private() {
        eprintln!("Postgres  psql {}", place.database_url);
    } else {
        eprintln!("Postgres  the database at --database-url");
    }
    eprintln!("          select label, count(*), avg(score) from predictions group by label;");
    eprintln!("          select text, label, score from predictions where score < 0.75 order by score limit 10;");
    eprintln!("HTTP      http://{http}/metrics, http://{http}/health/ready");
    eprintln!();
}

async fn publish(publisher: &Publisher, arguments: &Arguments, stream: &[reviews::Review]) -> anyhow::Result<()> {
    let pace = Pace::start(Some(arguments.rate));
    for (number, review) in stream.iter().enumerate() {
        pace.wait(number).await;
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

fn stopped_early(result: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Error {
    match result {
        Ok(Err(error)) => error.context("the consumer stopped"),
        Ok(Ok(())) => anyhow::anyhow!("the consumer stopped"),
        Err(error) => anyhow::Error::from(error).context("the consumer stopped"),
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
