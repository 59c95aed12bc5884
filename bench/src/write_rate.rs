//! How fast rows get into `predictions`, with its real indexes and the fence: `Store::write`
//! (binary `copy`) beside the same transaction with `insert ... select from unnest`, on a private
//! Postgres.
//!
//! Prints rows per second by the clock, and microseconds of processor time a row, which do not
//! depend on what else the machine is doing.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, Row};
use store::{Epoch, NextOffset, Outcome, PredictionRow, Store, Stream, Version, Write};

/// Flags of `bench write-rate`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rows of each line of the table: a multiple of 20,000, the largest batch on each of two
    /// connections.
    #[arg(long, default_value_t = 400_000)]
    rows: i64,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Copy,
    Unnest,
}

/// Runs the command.
pub async fn run(arguments: Arguments) -> Result<()> {
    let rows = arguments.rows;
    ensure!(rows > 0 && rows % 20_000 == 0, "--rows is no multiple of 20,000");
    let server = stack::Postgres::start()?;
    println!("way     batch   connections   rows/s   client us/row   server us/row");
    for (way, name) in [(Way::Copy, "copy  "), (Way::Unnest, "unnest")] {
        for batch in [1_000, 10_000] {
            for connections in [1, 2] {
                let database = format!("{}_{batch}_{connections}", name.trim());
                let url = server.create_database(&database)?;
                let store = Store::connect(&url, connections as u32).await?;
                store.migrate().await?;
                let before = (processor_time("self")?, server_time(server.pid())?, Instant::now());
                let lanes = (0..connections).map(|partition| {
                    let (store, url) = (store.clone(), url.clone());
                    tokio::spawn(async move {
                        match way {
                            Way::Copy => with_copy(store, partition, batch, rows / connections as i64).await,
                            Way::Unnest => with_unnest(&url, partition, batch, rows / connections as i64).await,
                        }
                    })
                });
                for lane in futures::future::join_all(lanes).await {
                    lane??;
                }
                let rate = rows as f64 / before.2.elapsed().as_secs_f64();
                let client = (processor_time("self")? - before.0) / rows as f64 * 1e6;
                let server = (server_time(server.pid())? - before.1) / rows as f64 * 1e6;
                println!("{name}  {batch:>6}   {connections:>11}   {rate:>6.0}   {client:>13.2}   {server:>13.2}");
                let mut look = PgConnection::connect(&url).await?;
                let found: i64 = sqlx::query("select count(*) from predictions").fetch_one(&mut look).await?.get(0);
                ensure!(found == rows, "{found} rows instead of {rows}");
            }
        }
    }
    Ok(())
}

fn stream() -> Stream {
    Stream {
        pipeline: "labelstream".to_owned(),
        cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".to_owned(),
        topic: "reviews".to_owned(),
    }
}

/// Texts of the length of real reviews; ids in no order; a quarter of the scores uncertain.
fn rows(partition: i32, offsets: std::ops::Range<i64>) -> Vec<PredictionRow> {
    let label: Arc<str> = "好评".into();
    offsets
        .map(|kafka_offset| {
            let scattered = (kafka_offset * 2 + i64::from(partition)) * 7_919 % 10_000_019;
            let score = 1.0 - (scattered % 1_000) as f32 / 1_000.0;
            PredictionRow {
                kafka_offset,
                record_time: Some(Utc::now()),
                review_id: format!("r-{scattered}"),
                text: "送餐很快，味道也不错，就是包装有点漏，下次还会再点".to_owned(),
                created_at: Some(Utc::now()),
                attributes: None,
                label: label.clone(),
                score,
                scores: vec![1.0 - score, score],
                version: Version(1),
                precision: "f32",
            }
        })
        .collect()
}

async fn with_copy(store: Store, partition: i32, batch: i64, count: i64) -> Result<()> {
    let claim = store.claim(&stream(), partition, "write_rate", NextOffset(0)).await?;
    for from in (0..count).step_by(batch as usize) {
        let write = Write {
            partition,
            epoch: claim.epoch,
            from: NextOffset(from),
            to: NextOffset(from + batch),
            predictions: rows(partition, from..from + batch),
            dead_letters: Vec::new(),
            tombstones: 0,
        };
        ensure!(store.write(&stream(), &write).await? == Outcome::Written);
    }
    Ok(())
}

async fn with_unnest(url: &str, partition: i32, batch: i64, count: i64) -> Result<()> {
    let store = Store::connect(url, 1).await?;
    let Epoch(epoch) = store.claim(&stream(), partition, "write_rate", NextOffset(0)).await?.epoch;
    let mut connection = PgConnection::connect(url).await?;
    for from in (0..count).step_by(batch as usize) {
        let rows = rows(partition, from..from + batch);
        let mut transaction = connection.begin().await?;
        sqlx::query(
            "update position_rows set next_offset = $1, updated_at = now(), predictions = predictions + $2
            where stream_id = (select id from streams where pipeline = $3 and cluster_id = $4 and topic = $5)
                and partition = $6 and owner_epoch = $7 and next_offset = $8",
        )
        .bind(from + batch)
        .bind(batch)
        .bind(stream().pipeline)
        .bind(stream().cluster_id)
        .bind(stream().topic)
        .bind(partition)
        .bind(epoch)
        .bind(from)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "insert into prediction_rows (stream_id, partition, kafka_offset, record_time, review_id,
                text, created_at, attributes, label, score, scores, version, precision)
            select id, $4, kafka_offset, record_time, review_id,
                text, created_at, attributes::jsonb, label, score, array[first, second], version, 'f32'
            from streams, unnest($5::bigint[], $6::timestamptz[], $7::text[], $8::text[], $9::timestamptz[], $10::text[],
                $11::text[], $12::real[], $13::real[], $14::real[], $15::bigint[])
                as row (kafka_offset, record_time, review_id, text, created_at, attributes, label, score,
                    first, second, version)
            where pipeline = $1 and cluster_id = $2 and topic = $3",
        )
        .bind(stream().pipeline)
        .bind(stream().cluster_id)
        .bind(stream().topic)
        .bind(partition)
        .bind(rows.iter().map(|row| row.kafka_offset).collect::<Vec<i64>>())
        .bind(rows.iter().map(|row| row.record_time).collect::<Vec<Option<DateTime<Utc>>>>())
        .bind(rows.iter().map(|row| row.review_id.as_str()).collect::<Vec<&str>>())
        .bind(rows.iter().map(|row| row.text.as_str()).collect::<Vec<&str>>())
        .bind(rows.iter().map(|row| row.created_at).collect::<Vec<Option<DateTime<Utc>>>>())
        .bind(rows.iter().map(|row| row.attributes.as_deref()).collect::<Vec<Option<&str>>>())
        .bind(rows.iter().map(|row| &*row.label).collect::<Vec<&str>>())
        .bind(rows.iter().map(|row| row.score).collect::<Vec<f32>>())
        .bind(rows.iter().map(|row| row.scores[0]).collect::<Vec<f32>>())
        .bind(rows.iter().map(|row| row.scores[1]).collect::<Vec<f32>>())
        .bind(rows.iter().map(|row| row.version.0).collect::<Vec<i64>>())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
    }
    Ok(())
}

/// Of the server and what it started: the connections of this run are all alive still.
fn server_time(server: u32) -> Result<f64> {
    let mut seconds = 0.0;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        // A process may end while we look.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        if pid == server.to_string() || fields(&stat).nth(1) == Some(&server.to_string()) {
            seconds += processor_time(pid).unwrap_or_default();
        }
    }
    Ok(seconds)
}

/// Seconds in user and system mode, of a process and of the children that have ended.
fn processor_time(pid: &str) -> Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks: Result<Vec<f64>, _> = fields(&stat).skip(11).take(4).map(str::parse).collect();
    let ended = if pid == "self" { 2 } else { 4 };
    Ok(ticks.context("/proc is not what it was")?.iter().take(ended).sum::<f64>() / TICKS_PER_SECOND)
}

/// What follows the name in /proc/PID/stat: state, parent, ...
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, after)| after).split_ascii_whitespace()
}
