//! Labels as they land in Postgres, and what they come to.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::json;
use store::{NextOffset, PartitionStatus, Predicted, Store, Stream, Version};

use trainer::audit::{Estimate, accuracies};

use super::narration;
use crate::measure::percentile;
use crate::print;

/// How often the database is asked; a person sees no difference to at once.
const EVERY: Duration = Duration::from_millis(100);

/// Reads a pipeline's predictions in their order, partition by partition.
pub struct Watch<'a> {
    store: Store,
    pipeline: &'static str,
    positions: HashMap<(Stream, i32), NextOffset>,
    truth: &'a HashMap<String, String>,
    json: bool,
    tally: Tally,
}

/// What was seen so far.
#[derive(Default)]
struct Tally {
    seen: usize,
    by_version: BTreeMap<Version, Answers>,
    by_label: HashMap<String, usize>,
    /// From the record's timestamp to its row, in seconds.
    latencies: Vec<f64>,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// What a version said.
#[derive(Default)]
struct Answers {
    labeled: usize,
    /// Of the reviews whose label is known.
    right: usize,
    wrong: usize,
}

impl Answers {
    /// The share of right answers, where any is known.
    fn accuracy(&self) -> Option<f64> {
        let known = self.right + self.wrong;
        (known > 0).then(|| self.right as f64 / known as f64)
    }
}

impl<'a> Watch<'a> {
    pub fn new(store: Store, pipeline: &'static str, truth: &'a HashMap<String, String>, json: bool) -> Self {
        Self { store, pipeline, positions: HashMap::new(), truth, json, tally: Tally::default() }
    }

    /// Waits until a consumer has claimed the partitions.
    pub async fn joined(&self) -> anyhow::Result<()> {
        while self.store.progress(self.pipeline).await?.is_none() {
            tokio::time::sleep(EVERY).await;
        }
        Ok(())
    }

    /// Shows labels until `enough` were seen; without end if it is none.
    pub async fn follow(&mut self, enough: Option<usize>) -> anyhow::Result<()> {
        while enough.is_none_or(|enough| self.tally.seen < enough) {
            let mut news = Vec::new();
            for PartitionStatus { stream, partition, .. } in self.store.status(self.pipeline).await?.partitions {
                let position = self.positions.entry((stream.clone(), partition)).or_insert(NextOffset(0));
                let rows = self.store.predictions(&stream, partition, *position, 1000).await?;
                if let Some(last) = rows.last() {
                    *position = NextOffset(last.kafka_offset + 1);
                }
                news.extend(rows);
            }
            news.sort_by_key(|row| row.classified_at);
            for row in &news {
                self.show(row)?;
            }
            tokio::time::sleep(EVERY).await;
        }
        Ok(())
    }

    fn show(&mut self, row: &Predicted) -> anyhow::Result<()> {
        let truth = self.truth.get(&row.review_id);
        if self.tally.by_version.last_key_value().is_some_and(|(version, _)| *version < row.version) {
            eprintln!("-- version {} labels from here on", row.version);
        }
        self.tally.add(row, truth);
        if self.json {
            return print::json(&json!({
                "review_id": row.review_id, "text": row.text, "label": row.label, "score": row.score,
                "version": row.version, "classified_at": row.classified_at, "truth": truth,
            }));
        }
        let mistake = truth
            .filter(|truth| **truth != row.label)
            .map_or(String::new(), |truth| format!("   (a person said {truth})"));
        let time = row.classified_at.with_timezone(&chrono::Local).format("%T%.3f");
        println!("{time}  {}  {:.3}  {}{mistake}", row.label, row.score, print::shortened(&row.text, 60));
        Ok(())
    }

    /// Prints what was seen.
    pub async fn summary(mut self) -> anyhow::Result<()> {
        let rounds = self.store.rounds(1000).await?;
        let labels = self.store.count_labels().await?;
        let tally = &mut self.tally;
        tally.latencies.sort_by(f64::total_cmp);
        let seconds = tally.first.zip(tally.last).map_or(0.0, |(first, last)| (last - first).as_secs_f64());
        let rate = if seconds > 0.0 { tally.seen as f64 / seconds } else { 0.0 };
        let (median, worst) = (percentile(&tally.latencies, 0.5), percentile(&tally.latencies, 0.99));
        if self.json {
            let version = |(version, answers): (&Version, &Answers)| json!({"version": version, "labeled": answers.labeled, "accuracy": answers.accuracy()});
            return print::json(&json!({
                "labeled": tally.seen, "versions": tally.by_version.iter().map(version).collect::<Vec<_>>(),
                "labels": tally.by_label, "labels_by_people": labels, "rounds": rounds, "labels_per_second": rate,
                "latency_seconds": {"p50": median, "p99": worst},
            }));
        }
        let mut by_label: Vec<_> = tally.by_label.iter().map(|(label, count)| format!("{label} {count}")).collect();
        by_label.sort();
        println!();
        println!("{} reviews labeled: {}", print::grouped(tally.seen), by_label.join(", "));
        println!(
            "{rate:.1} a second; {:.0} ms from published to labeled (median; 99%: {:.0} ms)",
            median * 1e3,
            worst * 1e3
        );
        println!("people have labeled {}", print::grouped(labels));
        for round in rounds.iter().rev().filter(|round| round.verdict.is_some()) {
            println!("{}", narration::verdict(round));
            if let Some(won) = narration::won(round) {
                println!("  {won}");
            }
        }
        for (version, answers) in &tally.by_version {
            let right =
                answers.accuracy().map_or(String::new(), |share| format!(", {:.1}% of them right", share * 100.0));
            println!("version {version} labeled {}{right}", print::grouped(answers.labeled));
        }
        for accuracy in accuracies(&self.store.audited().await?).into_iter().take(1) {
            let Some(Estimate { value, low, high, texts, .. }) = accuracy.accuracy else { continue };
            println!(
                "by {texts} reviews drawn at random, version {} is right on {:.1}% ({:.1}% to {:.1}%)",
                accuracy.version,
                100.0 * value,
                100.0 * low,
                100.0 * high
            );
        }
        Ok(())
    }
}

impl Tally {
    fn add(&mut self, row: &Predicted, truth: Option<&String>) {
        self.seen += 1;
        let answers = self.by_version.entry(row.version).or_default();
        answers.labeled += 1;
        match truth {
            Some(truth) if *truth == row.label => answers.right += 1,
            Some(_) => answers.wrong += 1,
            None => {}
        }
        *self.by_label.entry(row.label.clone()).or_default() += 1;
        if let Some(published) = row.record_time {
            self.latencies.push((row.classified_at - published).as_seconds_f64().max(0.0));
        }
        self.first.get_or_insert_with(Instant::now);
        self.last = Some(Instant::now());
    }
}
