//! A challenger that scores a share of the stream beside the champion.
//!
//! It gets copies of what is written already, so that it can hold nothing up and change nothing.
//! What it has no time for is left out: its thread yields to all others, and rests so long after
//! each pass that it has no more of the time than its share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use service::thread;
use store::{Shadow, ShadowRow, Store, Stream, Write};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::load::Loader;
use crate::metrics::Metrics;
use crate::model::{Champion, Model as _};

/// Records that wait for the challenger at most; then others are left out.
const WAITING: usize = 2_048;
/// Records of one pass.
const PASS: usize = 128;
/// The longest rest, so that a shadow that ends is not waited for.
const REST: Duration = Duration::from_secs(5);
/// The thread yields to everything.
const NICENESS: i32 = 19;

/// Where the writers offer what they have written.
#[derive(Default)]
pub(crate) struct Offers(Mutex<Option<Running>>);

/// The shadow that goes on here.
struct Running {
    id: i64,
    share: f64,
    sender: mpsc::Sender<Offer>,
}

/// A record with what the champion said of it.
struct Offer {
    text: String,
    row: ShadowRow,
}

impl Offers {
    /// Offers a share of what was written, and waits for nothing.
    pub fn offer(&self, write: &Write, metrics: &Metrics) {
        let running = self.0.lock().expect("no holder panics");
        let Some(Running { share, sender, .. }) = &*running else { return };
        for prediction in &write.predictions {
            if !is_in(*share, write.partition, prediction.kafka_offset) {
                continue;
            }
            let offer = Offer {
                text: prediction.text.clone(),
                row: ShadowRow {
                    partition: write.partition,
                    kafka_offset: prediction.kafka_offset,
                    champion_label: prediction.label.to_string(),
                    champion_version: prediction.version,
                    label: String::new(),
                    score: 0.0,
                },
            };
            if sender.try_send(offer).is_err() {
                metrics.shadow_left_out.inc();
            }
        }
    }

    fn id(&self) -> Option<i64> {
        self.0.lock().expect("no holder panics").as_ref().map(|running| running.id)
    }

    fn set(&self, running: Option<Running>) {
        *self.0.lock().expect("no holder panics") = running;
    }
}

/// Whether a record belongs to the share: by a hash, the same for whoever asks.
fn is_in(share: f64, partition: i32, offset: i64) -> bool {
    // The end of SplitMix64, which leaves no pattern of neighbours.
    let mut bits = (offset as u64) ^ (partition as u64).rotate_right(16);
    bits = (bits ^ (bits >> 30)).wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((bits ^ (bits >> 31)) as f64) < share * u64::MAX as f64
}

/// Follows the shadow that the registry names, for as long as the consumer serves.
pub(crate) struct Shadowing {
    pub store: Store,
    pub stream: Stream,
    pub loader: Loader,
    pub offers: Arc<Offers>,
    pub metrics: Arc<Metrics>,
    /// How often the registry is asked.
    pub interval: Duration,
}

impl Shadowing {
    /// Follows until the future is dropped.
    pub async fn follow(self) {
        // Not tried again: who mends it starts it anew.
        let mut refused: Option<i64> = None;
        // Whose files are in the cache.
        let mut held: Option<store::Model> = None;
        loop {
            match self.store.shadow().await {
                Ok(Some((shadow, model))) if self.offers.id() != Some(shadow.id) && refused != Some(shadow.id) => {
                    self.end(&mut held).await;
                    if let Err(error) = self.start(&shadow, &model).await {
                        let (version, reason) = (shadow.version.0, format!("{error:#}"));
                        tracing::error!(version, reason, "the challenger cannot shadow the champion");
                        refused = Some(shadow.id);
                    }
                    held = Some(model);
                }
                Ok(None) => self.end(&mut held).await,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the registry does not tell of shadows"),
            }
            tokio::time::sleep(self.interval).await;
        }
    }

    /// Ends the shadow that goes on here, and leaves nothing of it in the cache, unless the stream
    /// needs it.
    async fn end(&self, held: &mut Option<store::Model>) {
        let Some(model) = held.take() else { return };
        self.offers.set(None);
        self.metrics.shadows(None);
        tracing::info!(version = model.version.0, "the shadow ends");
        let is_champion = match self.store.champion().await {
            Ok(champion) => champion.is_some_and(|champion| champion.uri == model.uri),
            // It may be.
            Err(_) => true,
        };
        if !is_champion && let Err(error) = self.loader.forget(&model.uri).await {
            tracing::warn!(%error, "a challenger's checkpoint stays in the cache");
        }
    }

    async fn start(&self, shadow: &Shadow, model: &store::Model) -> Result<()> {
        let challenger = self.loader.load(model).await.map_err(|refusal| refusal.reason)?;
        let (sender, offers) = mpsc::channel(WAITING);
        let work = Work {
            shadow: shadow.clone(),
            challenger,
            offers,
            store: self.store.clone(),
            stream: self.stream.clone(),
            metrics: self.metrics.clone(),
        };
        let runtime = Handle::current();
        let ended = thread("shadow", Some(NICENESS), move || work.run(&runtime))?;
        // It stays the one that goes on here, and is not begun again: its records are left out, and
        // counted.
        tokio::spawn(async move {
            if let Err(error) = ended.await {
                tracing::error!(error = format!("{error:#}"), "the challenger fails: it scores no more");
            }
        });
        self.offers.set(Some(Running { id: shadow.id, share: shadow.share, sender }));
        self.metrics.shadows(Some(shadow.version));
        tracing::info!(version = shadow.version.0, share = shadow.share, "a challenger shadows the champion");
        Ok(())
    }
}

/// The thread's work: until nobody offers any more.
struct Work {
    shadow: Shadow,
    challenger: Champion,
    offers: mpsc::Receiver<Offer>,
    store: Store,
    stream: Stream,
    metrics: Arc<Metrics>,
}

impl Work {
    fn run(mut self, runtime: &Handle) -> Result<()> {
        let mut waiting = VecDeque::new();
        while let Some(first) = self.offers.blocking_recv() {
            waiting.push_back(first);
            while waiting.len() < PASS {
                match self.offers.try_recv() {
                    Ok(offer) => waiting.push_back(offer),
                    Err(_) => break,
                }
            }
            let started = Instant::now();
            let rows = self.score(waiting.drain(..).collect())?;
            let took = started.elapsed();
            self.metrics.shadow_scored.inc_by(rows.len() as u64);
            let record = self.store.record_shadow(self.shadow.id, &self.stream, &rows);
            if let Err(error) = runtime.block_on(record) {
                tracing::warn!(%error, records = rows.len(), "what the challenger said is not on record");
            }
            std::thread::sleep(rest(took, self.shadow.share));
        }
        Ok(())
    }

    fn score(&mut self, offers: Vec<Offer>) -> Result<Vec<ShadowRow>> {
        let texts: Vec<&str> = offers.iter().map(|offer| offer.text.as_str()).collect();
        let predictions = self.challenger.classify(&texts).context("the challenger fails on a record")?;
        ensure!(predictions.len() == texts.len(), "{} predictions for {} texts", predictions.len(), texts.len());
        let names = self.challenger.classes();
        let row = |(offer, prediction): (Offer, classifier::Prediction)| {
            let (best, score) = prediction.best();
            ShadowRow { label: names.name(best).to_owned(), score, ..offer.row }
        };
        Ok(offers.into_iter().zip(predictions).map(row).collect())
    }
}

/// How long to rest after a pass.
fn rest(took: Duration, share: f64) -> Duration {
    took.mul_f64((1.0 / share - 1.0).max(0.0)).min(REST)
}

#[cfg(test)]
mod tests {
    use store::Version;

    use super::*;

    #[test]
    fn the_share_is_what_it_says_in_every_partition() {
        for share in [0.05, 0.3, 1.0] {
            for partition in 0..3 {
                let taken = (0..10_000).filter(|offset| is_in(share, partition, *offset)).count() as f64;
                assert!((taken / 10_000.0 - share).abs() < 0.015, "{taken} of {share}");
            }
        }
    }

    #[test]
    fn a_rest_leaves_the_rest_of_the_time_to_others() {
        assert_eq!(rest(Duration::from_millis(10), 0.1), Duration::from_millis(90));
        assert_eq!(rest(Duration::from_millis(10), 1.0), Duration::ZERO);
        assert_eq!(rest(Duration::from_secs(10), 0.1), REST);
    }

    #[test]
    fn what_nobody_has_time_for_is_left_out_and_counted() {
        let (offers, metrics) = (Offers::default(), Metrics::new());
        let row = |kafka_offset| store::PredictionRow {
            kafka_offset,
            record_time: None,
            review_id: String::new(),
            text: "好吃".to_owned(),
            created_at: None,
            attributes: None,
            label: "good".into(),
            score: 1.0,
            scores: vec![1.0],
            version: Version(1),
            precision: "f32",
        };
        let write = Write {
            partition: 0,
            epoch: store::Epoch(1),
            from: store::NextOffset(0),
            to: store::NextOffset(10),
            predictions: (0..10).map(row).collect(),
            dead_letters: Vec::new(),
            tombstones: 0,
        };
        offers.offer(&write, &metrics);
        let (sender, mut taken) = mpsc::channel(4);
        offers.set(Some(Running { id: 1, share: 1.0, sender }));
        offers.offer(&write, &metrics);
        assert_eq!(metrics.shadow_left_out.get(), 6);
        let first = taken.try_recv().unwrap();
        assert_eq!(
            (first.text.as_str(), first.row.champion_label.as_str(), first.row.kafka_offset),
            ("好吃", "good", 0)
        );
    }
}
