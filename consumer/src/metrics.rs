//! What the consumer counts, for Prometheus. Counted by batch and by write, not by record, so that
//! counting costs nothing.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use store::Version;

/// Every metric, by the name it has after `labelstream_`; counters end in `_total` outside.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    pub records: Counter,
    pub predictions: Family<Label, Counter>,
    pub dead_letters: Family<Reason, Counter>,
    pub tombstones: Counter,
    pub gaps: Counter,
    pub gap_records: Counter,
    pub batches: Counter,
    pub batch_reviews: Histogram,
    pub batch_tokens: Histogram,
    pub inference_seconds: Histogram,
    pub inference_failures: Counter,
    pub write_seconds: Histogram,
    pub write_retries: Counter,
    pub latency_seconds: Histogram,
    pub lag: Family<Partition, Gauge>,
    pub assigned: Gauge,
    pub halted: Family<Partition, Gauge>,
    pub in_flight_bytes: Gauge,
    pub partitions_halted: Gauge,
    pub pauses: Counter,
    pub rebalances: Counter,
    pub fenced: Counter,
    pub rejoins: Counter,
    pub database_up: Gauge,
    pub kafka_up: Gauge,
    pub model_up: Gauge,
    pub device_fallback: Gauge,
    pub predict_requests: Family<Code, Counter>,
    pub predict_seconds: Histogram,
    pub model_refused: Counter,
    pub recent_texts: Counter,
    pub recent_text_hits: Counter,
    pub shadow_scored: Counter,
    pub shadow_left_out: Counter,
    shadow_version: Gauge,
    model_info: Family<Serving, Gauge>,
    model_version: Gauge,
    model_swaps: Counter,
    dead_letter_share: Gauge<f64, AtomicU64>,
    all_records_bad: Gauge,
    recent: Mutex<Recent>,
}

/// The label set `{label="..."}`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Label {
    pub label: String,
}

/// The label set `{reason="..."}`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Reason {
    pub reason: &'static str,
}

/// The label set `{partition="..."}`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Partition {
    pub partition: i32,
}

/// The label set `{version="...",device="..."}`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Serving {
    version: i64,
    device: String,
}

/// The label set `{code="..."}`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Code {
    pub code: u16,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("labelstream");
        let mut metrics = Self {
            registry: Mutex::default(),
            records: Counter::default(),
            predictions: Family::default(),
            dead_letters: Family::default(),
            tombstones: Counter::default(),
            gaps: Counter::default(),
            gap_records: Counter::default(),
            batches: Counter::default(),
            batch_reviews: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            batch_tokens: Histogram::new(exponential_buckets(16.0, 2.0, 13)),
            inference_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            inference_failures: Counter::default(),
            write_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            write_retries: Counter::default(),
            latency_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 18)),
            lag: Family::default(),
            assigned: Gauge::default(),
            halted: Family::default(),
            in_flight_bytes: Gauge::default(),
            partitions_halted: Gauge::default(),
            pauses: Counter::default(),
            rebalances: Counter::default(),
            fenced: Counter::default(),
            rejoins: Counter::default(),
            database_up: Gauge::default(),
            kafka_up: Gauge::default(),
            model_up: Gauge::default(),
            device_fallback: Gauge::default(),
            predict_requests: Family::default(),
            predict_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            model_refused: Counter::default(),
            recent_texts: Counter::default(),
            recent_text_hits: Counter::default(),
            shadow_scored: Counter::default(),
            shadow_left_out: Counter::default(),
            shadow_version: Gauge::default(),
            model_info: Family::default(),
            model_version: Gauge::default(),
            model_swaps: Counter::default(),
            dead_letter_share: Gauge::default(),
            all_records_bad: Gauge::default(),
            recent: Mutex::default(),
        };
        metrics.register(&mut registry);
        metrics.registry = Mutex::new(registry);
        metrics
    }

    fn register(&self, to: &mut Registry) {
        to.register("records", "Records written, of any kind", self.records.clone());
        to.register("predictions", "Predictions written", self.predictions.clone());
        to.register("dead_letters", "Dead letters written", self.dead_letters.clone());
        to.register("tombstones", "Records without a value, skipped", self.tombstones.clone());
        to.register("gaps", "Ranges that Kafka deleted before they were read", self.gaps.clone());
        to.register("gap_records", "Offsets in those ranges", self.gap_records.clone());
        to.register("batches", "Batches classified", self.batches.clone());
        to.register("batch_reviews", "Reviews in a batch", self.batch_reviews.clone());
        to.register("batch_tokens", "Estimated tokens in a batch", self.batch_tokens.clone());
        to.register("inference_seconds", "Seconds to classify a batch", self.inference_seconds.clone());
        to.register("inference_failures", "Forward passes that failed", self.inference_failures.clone());
        to.register("write_seconds", "Seconds to write a partition's batch", self.write_seconds.clone());
        to.register("write_retries", "Writes tried again after a transient error", self.write_retries.clone());
        to.register(
            "latency_seconds",
            "Seconds from a record's time to its committed prediction",
            self.latency_seconds.clone(),
        );
        to.register("lag", "Records that wait in a partition", self.lag.clone());
        to.register("assigned_partitions", "Partitions that this consumer reads", self.assigned.clone());
        to.register(
            "partition_halted",
            "1 for a partition that stands still; why is in its last_error",
            self.halted.clone(),
        );
        to.register(
            "in_flight_bytes",
            "Bytes held for records between Kafka and Postgres, see --max-in-flight-bytes",
            self.in_flight_bytes.clone(),
        );
        to.register(
            "partitions_halted",
            "Partitions of this consumer that stand still",
            self.partitions_halted.clone(),
        );
        to.register(
            "pauses",
            "Times that Kafka was paused because the stages behind it were full",
            self.pauses.clone(),
        );
        to.register("rebalances", "Rebalances of the group", self.rebalances.clone());
        to.register("fenced", "Writes refused because another consumer owns the partition", self.fenced.clone());
        to.register("rejoins", "Times that this consumer left its group to join it again", self.rejoins.clone());
        to.register("database_up", "1 while Postgres answers", self.database_up.clone());
        to.register("kafka_up", "1 while a broker answers", self.kafka_up.clone());
        to.register("model_up", "1 while the model passes its canary", self.model_up.clone());
        to.register(
            "device_fallback",
            "1 if the model runs on the CPU because its device has died",
            self.device_fallback.clone(),
        );
        to.register("predict_requests", "Requests to /predict by status code", self.predict_requests.clone());
        to.register(
            "predict_seconds",
            "Seconds from a request to /predict to its answer, of any status",
            self.predict_seconds.clone(),
        );
        to.register("model_info", "The model that serves", self.model_info.clone());
        to.register("model_version", "The version that serves", self.model_version.clone());
        to.register("model_swaps", "Times that another model took over", self.model_swaps.clone());
        to.register("model_refused", "New champions that were not fit to take over", self.model_refused.clone());
        to.register("recent_texts", "Texts looked for among the recent ones", self.recent_texts.clone());
        to.register(
            "shadow_scored",
            "Records that a challenger has scored beside the champion",
            self.shadow_scored.clone(),
        );
        let help = "Records of a challenger's share that it had no time for";
        to.register("shadow_left_out", help, self.shadow_left_out.clone());
        to.register("shadow_version", "The version that shadows the champion; 0: none", self.shadow_version.clone());
        to.register("recent_text_hits", "Texts of these whose answer was found there", self.recent_text_hits.clone());
        to.register(
            "dead_letter_share",
            "Share of dead letters in the records of the last minute",
            self.dead_letter_share.clone(),
        );
        to.register(
            "all_records_bad",
            "1 if every record of the last minute was a dead letter",
            self.all_records_bad.clone(),
        );
    }

    /// Says which model serves, and where.
    pub fn serves(&self, version: Version, device: &str) {
        self.model_info.clear();
        self.model_info.get_or_create(&Serving { version: version.0, device: device.to_owned() }).set(1);
        self.model_version.set(version.0);
    }

    /// Another model has taken over, on the same device.
    pub fn swapped(&self, version: Version, device: &str) {
        self.model_swaps.inc();
        self.serves(version, device);
    }

    /// Another challenger shadows the champion, or none.
    pub fn shadows(&self, version: Option<Version>) {
        self.shadow_version.set(version.map_or(0, |version| version.0));
    }

    /// Notes what a write brought, for the alarm.
    pub fn written(&self, good: u64, bad: u64) {
        self.records.inc_by(good + bad);
        self.recent.lock().expect("no holder panics").add(good, bad);
    }

    /// Brings the alarm up to date, and says it when it goes off.
    pub fn alarm(&self) {
        let (good, bad) = self.recent.lock().expect("no holder panics").sums();
        self.dead_letter_share.set(if bad == 0 { 0.0 } else { bad as f64 / (good + bad) as f64 });
        let all_bad = i64::from(good == 0 && bad > 0);
        if self.all_records_bad.set(all_bad) < all_bad {
            tracing::error!(records = bad, "every record of the last minute was a dead letter");
        }
    }

    /// Everything in the text format of OpenMetrics.
    pub fn encode(&self) -> String {
        self.alarm();
        service::http::encode(&self.registry.lock().expect("no holder panics"))
    }
}

/// Good and bad records of the last minute, by second.
struct Recent {
    start: Instant,
    seconds: [(u64, u64, u64); 60],
}

impl Default for Recent {
    fn default() -> Self {
        Self { start: Instant::now(), seconds: [(0, 0, 0); 60] }
    }
}

impl Recent {
    fn add(&mut self, good: u64, bad: u64) {
        let now = self.start.elapsed().as_secs();
        let slot = &mut self.seconds[now as usize % 60];
        if slot.0 != now {
            *slot = (now, 0, 0);
        }
        slot.1 += good;
        slot.2 += bad;
    }

    fn sums(&self) -> (u64, u64) {
        let oldest = self.start.elapsed().as_secs().saturating_sub(59);
        let recent = self.seconds.iter().filter(|slot| slot.0 >= oldest);
        recent.fold((0, 0), |sums, slot| (sums.0 + slot.1, sums.1 + slot.2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_is_on_while_every_recent_record_is_bad() {
        let metrics = Metrics::new();
        let says = |line: &str| metrics.encode().contains(line);
        assert!(says("labelstream_all_records_bad 0"));
        metrics.written(0, 5);
        assert!(says("labelstream_all_records_bad 1") && says("labelstream_dead_letter_share 1.0"));
        metrics.written(5, 0);
        assert!(says("labelstream_all_records_bad 0") && says("labelstream_dead_letter_share 0.5"));
    }
}
