//! How long a record takes, at half the rate that the stream could keep.

use anyhow::bail;
use service::broker::Publisher;
use store::NextOffset;

use super::measure::{Run, Setup};
use crate::measure::percentile;
use crate::texts::record;

/// From the timestamp that a record got when it was published to the time that Postgres wrote
/// beside its row.
#[derive(serde::Serialize)]
pub struct Latency {
    pub records: usize,
    published_per_second: f64,
    milliseconds: Percentiles,
}

#[derive(serde::Serialize)]
struct Percentiles {
    p50: f64,
    p95: f64,
    p99: f64,
}

/// Publishes at `rate` for some seconds to a stream that has caught up.
pub async fn measure(
    setup: &Setup<'_>,
    run: &mut Run<'_>,
    texts: &[&str],
    rate: f64,
    seconds: f64,
) -> anyhow::Result<Latency> {
    let positions = run.store.status(&run.pipeline).await?.partitions;
    let records = (rate * seconds) as usize;
    let publisher = Publisher::open(setup.kafka)?;
    let publish = async |number: usize| {
        let text = texts[number % texts.len()];
        publisher.send(setup.topic, &record(&format!("late-{number}"), text), number).await;
    };
    let arrived = async || match publisher.finish().await.first() {
        Some((_, why)) => bail!("a record could not be published: {why}"),
        None => Ok(()),
    };
    // The first one connects: a record has its timestamp before that, and those after it would all
    // seem to be late.
    publish(0).await;
    arrived().await?;
    let mut due = every(rate);
    for number in 1..records {
        due.tick().await;
        publish(number).await;
    }
    arrived().await?;
    run.until(texts.len() + records).await?;

    let mut waited = Vec::with_capacity(records);
    for partition in positions {
        let mut from = partition.next_offset;
        loop {
            let rows = run.store.predictions(&partition.stream, partition.partition, from, 10_000).await?;
            let Some(last) = rows.last() else { break };
            from = NextOffset(last.kafka_offset + 1);
            let latencies =
                rows.iter().filter_map(|row| Some((row.classified_at - row.record_time?).as_seconds_f64() * 1e3));
            waited.extend(latencies);
        }
    }
    waited.sort_by(f64::total_cmp);
    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| percentile(&waited, share));
    Ok(Latency { records, published_per_second: rate, milliseconds: Percentiles { p50, p95, p99 } })
}

/// An even rate: what is late is made up for at once.
pub fn every(rate: f64) -> tokio::time::Interval {
    tokio::time::interval(std::time::Duration::from_secs_f64(1.0 / rate))
}
