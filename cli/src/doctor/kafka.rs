//! Kafka: its brokers, as they are named here and as they name themselves, the topic, the group.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use service::KafkaArguments;
use service::broker::Cluster;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Arguments, Finding};

/// A consumer that stands still for longer than Kafka keeps records loses some.
const SHORT_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// How long a broker may take to let us in.
const REACH: Duration = Duration::from_secs(3);

/// The brokers, the topic and the group.
pub async fn all(arguments: &Arguments) -> Vec<Finding> {
    let Some(brokers) = arguments.brokers.clone() else {
        return vec![Finding::warn("brokers", "not given", "--brokers or LABELSTREAM_BROKERS")];
    };
    let kafka = KafkaArguments { brokers, settings: arguments.kafka.clone() };
    let cluster = match Cluster::connect(&kafka, Duration::from_secs(5)).await {
        Ok(cluster) => cluster,
        Err(error) => {
            let advice = "is Kafka running there, reachable from here, and is its security as -X says?";
            return vec![Finding::fail("brokers", error, advice)];
        }
    };
    let id = cluster.id().await.unwrap_or_else(|| "without an id".to_owned());
    let brokers = Finding::ok("brokers", format!("{} answers (cluster {id})", kafka.brokers));
    let mut findings = vec![brokers];
    findings.push(match cluster.advertised().await {
        Ok(addresses) => advertised(addresses).await,
        Err(error) => {
            Finding::warn("advertised", format!("{error:#}"), "where the brokers want to be reached is not known")
        }
    });
    findings.push(topic(&cluster, &arguments.topic).await);
    findings.extend(future(&cluster, &arguments.topic).await);
    findings.push(match cluster.others_of_group(&arguments.group, &arguments.topic).await {
        Ok(others) if others.is_empty() => {
            Finding::ok("group", format!("nobody in {} reads another topic", arguments.group))
        }
        Ok(others) => Finding::warn(
            "group",
            format!("others in group {} read {}", arguments.group, others.join(", ")),
            "each of them makes all of the group pause and share anew: give this stream a --group of its own",
        ),
        Err(error) => {
            Finding::warn("group", format!("{error:#}"), "who else is in the group is not known: may it be described?")
        }
    });
    findings
}

async fn topic(cluster: &Cluster, topic: &str) -> Finding {
    let partitions = match cluster.partitions(topic).await {
        Ok(Some(partitions)) => partitions,
        Ok(None) => {
            let advice = "make it, or let `labelstream publish --create-topic 4` make it, with 4 partitions";
            return Finding::fail("topic", format!("there is no topic {topic:?}"), advice);
        }
        Err(error) => {
            return Finding::fail("topic", error, "does the account have the right to describe it?");
        }
    };
    let found = format!("{topic} has {partitions} {}", if partitions == 1 { "partition" } else { "partitions" });
    // A negative retention is none: records are kept for ever.
    let retention = cluster.topic_setting(topic, "retention.ms").await.and_then(|setting| setting.parse::<i64>().ok());
    match retention.map(u64::try_from) {
        None => Finding::ok("topic", found),
        Some(Err(_)) => Finding::ok("topic", format!("{found} and keeps its records for ever")),
        Some(Ok(kept)) => {
            let kept = Duration::from_millis(kept);
            let found = format!("{found} and keeps its records for {} h", kept.as_secs() / 3600);
            if kept < SHORT_RETENTION {
                Finding::warn(
                    "topic",
                    found,
                    "a consumer that stands still for longer loses records: raise retention.ms",
                )
            } else {
                Finding::ok("topic", found)
            }
        }
    }
}

/// What is read comes from the brokers at the addresses that they give, wherever the first answer
/// came from.
async fn advertised(addresses: Vec<String>) -> Finding {
    let mut unreached = Vec::new();
    for address in &addresses {
        match timeout(REACH, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => unreached.push(format!("{address} ({error})")),
            Err(_) => unreached.push(format!("{address} (no answer within {} s)", REACH.as_secs())),
        }
    }
    if unreached.is_empty() {
        return Finding::ok("advertised", format!("{} can be reached from here", addresses.join(", ")));
    }
    Finding::fail(
        "advertised",
        format!("the brokers give addresses that cannot be reached from here: {}", unreached.join(", ")),
        "give advertised.listeners of the brokers addresses that consumers reach; --brokers is for the first question alone",
    )
}

/// Records from the future: a clock is ahead, the broker's or a producer's.
async fn future(cluster: &Cluster, topic: &str) -> Option<Finding> {
    let partitions = cluster.partitions(topic).await.ok()??;
    let newest = cluster.newest_times(topic, partitions).await.ok()?.into_iter().max()?;
    let ahead = DateTime::from_timestamp_millis(newest)? - Utc::now();
    Some(match ahead > TimeDelta::seconds(5) {
        true => Finding::warn(
            "times",
            format!("the newest record is from {} s in the future", ahead.num_seconds()),
            "a clock is ahead, the broker's or a producer's, or this machine's is behind: have NTP set all of them",
        ),
        false => Finding::ok("times", "no record is from the future"),
    })
}
