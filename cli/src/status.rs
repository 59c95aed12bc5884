//! `labelstream status`: how far the stream is, and how the next model is coming along.

mod learning;

use std::collections::HashMap;

use serde_json::json;
use service::{DatabaseArguments, KafkaArguments, KafkaSettings};
use store::{PartitionStatus, Status};

use self::learning::Learning;
use crate::print::{self, ago, grouped};
use service::broker::{self, Ends};

/// Flags of `labelstream status`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,

    /// Kafka's bootstrap servers; without them there is no lag to show.
    #[arg(long, env = "LABELSTREAM_BROKERS", value_name = "HOST:PORT,...")]
    brokers: Option<String>,

    #[command(flatten)]
    kafka: KafkaSettings,

    /// The pipeline: the consumers' group, unless they were told another name.
    #[arg(long, env = "LABELSTREAM_PIPELINE", default_value = "labelstream")]
    pipeline: String,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let store = arguments.database.connect().await?;
    let status = store.status(&arguments.pipeline).await?;
    let learning = Learning::read(&store, &arguments.pipeline).await?;
    let ends = match arguments.brokers {
        None => Err("no --brokers".to_owned()),
        Some(brokers) => {
            let kafka = KafkaArguments { brokers, settings: arguments.kafka };
            broker::ends(&kafka, &status.partitions).await.map_err(|error| format!("{error:#}"))
        }
    };
    if arguments.json {
        let mut shown = as_json(&arguments.pipeline, &status, &ends);
        for (name, value) in learning.json() {
            shown[name] = value;
        }
        return print::json(&shown);
    }
    show(&arguments.pipeline, &status, &learning, &ends);
    Ok(())
}

fn end_of(partition: &PartitionStatus, ends: &Result<Ends, String>) -> Option<i64> {
    broker::end_of(partition, ends.as_ref().ok()?)
}

fn lag_of(partition: &PartitionStatus, ends: &Result<Ends, String>) -> Option<i64> {
    end_of(partition, ends).map(|end| (end - partition.next_offset.0).max(0))
}

fn show(pipeline: &str, status: &Status, learning: &Learning, ends: &Result<Ends, String>) {
    let champion = status.champion.map_or("none yet".to_owned(), |version| format!("version {version}"));
    println!("pipeline {pipeline}, champion: {champion}");
    learning.show();
    println!(
        "predictions: {} in the last minute ({:.1}/s), {} in the last hour",
        grouped(status.predictions_last_minute),
        status.predictions_last_minute as f64 / 60.0,
        grouped(status.predictions_last_hour),
    );
    let reasons = status.dead_letters_last_hour.iter().map(|(reason, count)| format!("{reason} {}", grouped(count)));
    let reasons = reasons.collect::<Vec<_>>().join(", ");
    println!("dead letters in the last hour: {}", if reasons.is_empty() { "none" } else { &reasons });
    if let Err(why) = ends {
        println!("lag: unknown ({why})");
    }
    if status.partitions.is_empty() {
        println!("no partition was ever claimed: is a consumer running with this pipeline's group?");
        return;
    }
    println!();
    let unknown = || "?".to_owned();
    let rows: Vec<_> = (status.partitions.iter())
        .map(|partition| {
            [
                format!("{}/{}", partition.stream.topic, partition.partition),
                partition.next_offset.0.to_string(),
                end_of(partition, ends).map_or_else(unknown, |end| end.to_string()),
                lag_of(partition, ends).map_or_else(unknown, grouped),
                grouped(partition.predictions),
                grouped(partition.dead_letters),
                ago(partition.updated_at),
                partition.owner.clone(),
            ]
        })
        .collect();
    print::table(["PARTITION", "POSITION", "END", "LAG", "PREDICTIONS", "DEAD LETTERS", "MOVED", "OWNER"], &rows);
    for partition in &status.partitions {
        if let Some(error) = partition.stands_still() {
            println!("{}/{} stands still: {error}", partition.stream.topic, partition.partition);
        }
    }
}

fn as_json(pipeline: &str, status: &Status, ends: &Result<Ends, String>) -> serde_json::Value {
    let partitions: Vec<_> = (status.partitions.iter())
        .map(|partition| {
            json!({
                "cluster_id": partition.stream.cluster_id, "topic": partition.stream.topic,
                "partition": partition.partition, "position": partition.next_offset.0,
                "end": end_of(partition, ends), "lag": lag_of(partition, ends),
                "predictions": partition.predictions, "dead_letters": partition.dead_letters,
                "tombstones": partition.tombstones, "owner": partition.owner, "epoch": partition.epoch.0,
                "claimed_at": partition.claimed_at, "updated_at": partition.updated_at,
                "last_error": partition.last_error, "last_error_at": partition.last_error_at,
                "stands_still": partition.stands_still().is_some(),
            })
        })
        .collect();
    let lags: Option<Vec<i64>> = status.partitions.iter().map(|partition| lag_of(partition, ends)).collect();
    json!({
        "pipeline": pipeline,
        "champion": status.champion,
        "predictions_last_minute": status.predictions_last_minute,
        "predictions_last_hour": status.predictions_last_hour,
        "dead_letters_last_hour": status.dead_letters_last_hour.iter().cloned().collect::<HashMap<_, _>>(),
        "lag": lags.map(|lags| lags.iter().sum::<i64>()),
        "lag_unknown_because": ends.as_ref().err(),
        "partitions": partitions,
    })
}
