//! One named OS thread owns the model and labels batches, and between them the texts of `/predict`.
//! It takes another model between two batches only, so that none is labeled by two.
//!
//! A record that the model cannot label becomes a dead letter (see [`crate::bisect`]). When the
//! model is broken, not the record, the batch waits; where the device has died, the model moves to
//! the CPU.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use classifier::Prediction;
use service::Backoff;
use store::PredictionRow;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::batch::Section;
use crate::batch_size::BatchSize;
use crate::bisect::{Broken, canary, label};
use crate::health::Health;
use crate::message::Reason;
use crate::metrics::Metrics;
use crate::model::{Encoder, Facts, Model};
use crate::persist::Labeled;
use crate::predict::{PredictJob, Waiting};
use crate::tokenize::Tokenized;
use crate::turns::Turns;

/// A model to take over with.
pub(crate) struct Handover {
    pub model: Box<dyn Model>,
    /// Takes the model that it replaces: to free that is not this thread's work.
    pub replaced: oneshot::Sender<Box<dyn Model>>,
}

/// The ends of the channels that the thread works between.
pub(crate) struct Channels {
    pub batches: mpsc::Receiver<Tokenized>,
    pub predict: mpsc::Receiver<PredictJob>,
    pub models: mpsc::Receiver<Handover>,
    pub labeled: mpsc::Sender<Vec<Labeled>>,
    /// Ends the thread between two batches, whatever is in flight.
    pub abort: CancellationToken,
}

/// What the thread tells the others.
pub(crate) struct Signs {
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub batch_size: Arc<BatchSize>,
    /// The encoder of the model that serves, for the thread that tokenizes the next batches.
    pub serves: watch::Sender<Option<Encoder>>,
}

/// An idle model is asked for a sign of life this often.
const CANARY_INTERVAL: Duration = Duration::from_secs(10);

/// The thread's work: until the batches end, and everything labeled is handed on.
pub(crate) struct Inference {
    model: Box<dyn Model>,
    labels: Vec<Arc<str>>,
    channels: Channels,
    signs: Signs,
    /// The requests that have come, and whether it is their turn or the stream's.
    waiting: Waiting,
    turns: Turns,
    last_pass: Instant,
}

enum Work {
    Swap(Handover),
    Predict,
    Batch(Tokenized, mpsc::OwnedPermit<Vec<Labeled>>),
    Canary,
    End,
}

impl Inference {
    /// Takes a model that passes its canary. `/predict` may have `predict_share` of the time while
    /// the stream has work.
    ///
    /// # Errors
    /// A model that does not.
    pub fn new(mut model: Box<dyn Model>, channels: Channels, signs: Signs, predict_share: f64) -> Result<Self> {
        signs.health.inference_thread.beat();
        canary(model.as_mut()).context("the model fails on a fixed text")?;
        signs.health.model.works();
        signs.serves(model.as_ref());
        let (waiting, turns) = (Waiting::default(), Turns::new(predict_share));
        Ok(Self { labels: names(model.as_ref()), model, channels, signs, waiting, turns, last_pass: Instant::now() })
    }

    /// Works until there is no more work.
    pub fn run(mut self, runtime: &Handle) {
        while self.step(runtime) {}
        self.signs.health.inference_thread.rests();
    }

    /// True if there is more to do.
    fn step(&mut self, runtime: &Handle) -> bool {
        self.signs.health.inference_thread.beat();
        let canary = self.last_pass + CANARY_INTERVAL;
        let next = self.channels.next(&mut self.waiting, self.turns.predict_is_next(), canary);
        match runtime.block_on(next) {
            Work::Swap(handover) => self.swap(handover),
            Work::Predict => self.predict(),
            Work::Batch(batch, output) => match self.label(batch, runtime) {
                Some(labeled) => _ = output.send(labeled),
                None => return false,
            },
            Work::Canary => self.sign_of_life(),
            Work::End => return false,
        }
        true
    }

    fn swap(&mut self, Handover { model, replaced }: Handover) {
        let (version, former) = (model.version().0, self.model.version().0);
        self.labels = names(model.as_ref());
        self.signs.batch_size.set_max_length(model.max_length());
        self.signs.serves(model.as_ref());
        let old = std::mem::replace(&mut self.model, model);
        self.waiting.start_over();
        // It has labeled texts already, on the way here.
        self.works();
        tracing::info!(version, former, "the new champion serves");
        // Where nobody takes it, it is freed here.
        let _ = replaced.send(old);
    }

    /// One pass for people who wait: shorter than a batch, since the stream may come any moment.
    fn predict(&mut self) {
        let started = Instant::now();
        let tokens = self.waiting.pass(self.model.as_mut(), self.signs.batch_size.tokens() / 2);
        let took = started.elapsed();
        self.signs.batch_size.learn(tokens, took);
        self.turns.predicted(took, self.channels.stream_waits());
    }

    fn sign_of_life(&mut self) {
        self.last_pass = Instant::now();
        match canary(self.model.as_mut()) {
            Ok(()) => self.works(),
            Err(error) => _ = self.fails(&error),
        }
    }

    fn works(&mut self) {
        self.last_pass = Instant::now();
        if self.signs.health.model.works() {
            tracing::info!("the model works again");
        }
    }

    /// Notes that the model fails, and has it run on the CPU if that helps; true if it does.
    fn fails(&mut self, error: &anyhow::Error) -> bool {
        if self.signs.health.model.fails(format!("{error:#}")) {
            tracing::error!(error = format!("{error:#}"), "the model fails on a fixed text: waiting, nothing is lost");
        }
        self.fall_back(error)
    }

    /// A device that has died does not come back to this process.
    fn fall_back(&mut self, error: &anyhow::Error) -> bool {
        let Some(opened) = self.model.on_cpu() else { return false };
        let model = opened.and_then(|mut model| canary(model.as_mut()).map(|()| model));
        let model = match model {
            Ok(model) => model,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the model fails on the CPU too");
                return false;
            }
        };
        let version = model.version();
        let dead = std::mem::replace(&mut self.model, model);
        // To free what is on a dead device may hang: that is for nobody to wait for.
        std::thread::spawn(move || drop(dead));
        self.signs.serves(self.model.as_ref());
        self.signs.metrics.serves(version, "cpu");
        let reason = format!("{error:#}");
        tracing::error!(version = version.0, error = reason, "the device has died: the model runs on the CPU");
        // Already set where a model died on another device before, which there is not.
        let _ = self.signs.health.fallback.set(reason);
        self.works();
        true
    }

    /// Labels a batch, however long a broken model takes to work again or to be replaced; `None` if
    /// the consumer ends before that.
    fn label(&mut self, Tokenized { batch, tokens }: Tokenized, runtime: &Handle) -> Option<Vec<Labeled>> {
        let texts = batch.texts();
        let mut backoff = Backoff::new(Duration::from_secs(10));
        let started = Instant::now();
        let predictions = loop {
            let tokens = tokens.as_ref().filter(|tokens| self.signs.is_current(&tokens.encoder));
            match label(self.model.as_mut(), &texts, tokens, &self.signs.metrics) {
                Ok(predictions) => break predictions,
                Err(Broken(error)) => {
                    if self.fails(&error) {
                        continue;
                    }
                    self.waiting.clear();
                    self.signs.health.inference_thread.beat();
                    match runtime.block_on(self.channels.refuse_for(backoff.next_delay())) {
                        Waited::Ended => return None,
                        Waited::Enough => {}
                        Waited::Swap(handover) => self.swap(handover),
                    }
                }
            }
        };
        let (took, count) = (started.elapsed(), texts.len());
        if count > 0 {
            self.works();
        }
        self.measure(took, count, batch.tokens);
        self.turns.streamed(took, self.channels.request_waits(&self.waiting));
        let mut predictions = predictions.into_iter();
        let (version, precision) = (self.model.version(), self.model.precision());
        Some(
            batch
                .sections
                .into_iter()
                .map(|section| section.labeled(&mut predictions, &self.labels, version, precision))
                .collect(),
        )
    }

    fn measure(&self, took: Duration, reviews: usize, tokens: usize) {
        self.signs.batch_size.learn(tokens, took);
        let metrics = &self.signs.metrics;
        metrics.batches.inc();
        metrics.batch_reviews.observe(reviews as f64);
        metrics.batch_tokens.observe(tokens as f64);
        metrics.inference_seconds.observe(took.as_secs_f64());
    }
}

impl Signs {
    /// Whether it is the encoder of the model that serves.
    fn is_current(&self, encoder: &Encoder) -> bool {
        self.serves.borrow().as_ref().is_some_and(|current| Arc::ptr_eq(current, encoder))
    }

    fn serves(&self, model: &dyn Model) {
        self.serves.send_replace(model.encoder());
        *self.health.serves.lock().expect("no holder panics") = Some(Facts::of(model));
    }
}

impl Channels {
    /// What to do next: a new model, a sign of life that is due, then people who wait or the
    /// stream, whoever's turn it is. A batch is taken only when there is room for what comes of it,
    /// so that a slow database keeps nobody from an answer.
    async fn next(&mut self, waiting: &mut Waiting, predict_first: bool, canary: Instant) -> Work {
        let Self { batches, predict, models, labeled, abort } = self;
        while let Ok(job) = predict.try_recv() {
            waiting.push(job);
        }
        let requests = async {
            if waiting.is_empty() {
                match predict.recv().await {
                    Some(job) => waiting.push(job),
                    None => return std::future::pending().await,
                }
            }
            Work::Predict
        };
        let batch = async {
            // Without a receiver everything ends.
            let Ok(permit) = labeled.clone().reserve_owned().await else {
                return Work::End;
            };
            batches.recv().await.map_or(Work::End, |batch| Work::Batch(batch, permit))
        };
        let turn = async { if predict_first { first(requests, batch).await } else { first(batch, requests).await } };
        tokio::select! {
            biased;
            () = abort.cancelled() => Work::End,
            Some(handover) = models.recv() => Work::Swap(handover),
            () = tokio::time::sleep_until(canary.into()) => Work::Canary,
            work = turn => work,
        }
    }

    /// Whether the stream could use the model now.
    fn stream_waits(&self) -> bool {
        !self.batches.is_empty() && self.labeled.capacity() > 0
    }

    fn request_waits(&self, waiting: &Waiting) -> bool {
        !waiting.is_empty() || !self.predict.is_empty()
    }

    /// Waits, and tells whoever asks meanwhile that there is no answer.
    async fn refuse_for(&mut self, delay: Duration) -> Waited {
        let until = tokio::time::sleep(delay);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = self.abort.cancelled() => return Waited::Ended,
                () = &mut until => return Waited::Enough,
                Some(handover) = self.models.recv() => return Waited::Swap(handover),
                // Dropping the job tells its sender.
                Some(_) = self.predict.recv() => {}
            }
        }
    }
}

/// What is ready: the one, else the other.
async fn first(one: impl Future<Output = Work>, other: impl Future<Output = Work>) -> Work {
    tokio::select! {
        biased;
        work = one => work,
        work = other => work,
    }
}

/// How waiting for a broken model ended.
enum Waited {
    Ended,
    Enough,
    Swap(Handover),
}

/// The class names, shared by all rows that they are written to.
fn names(model: &dyn Model) -> Vec<Arc<str>> {
    model.classes().names().iter().map(|name| name.as_str().into()).collect()
}

impl Section {
    fn labeled(
        self,
        predictions: &mut impl Iterator<Item = Result<Prediction, String>>,
        labels: &[Arc<str>],
        version: store::Version,
        precision: &'static str,
    ) -> Labeled {
        let mut write = store::Write {
            partition: self.partition,
            epoch: self.epoch,
            from: self.from,
            to: self.to,
            predictions: Vec::with_capacity(self.reviews.len()),
            dead_letters: self.dead_letters,
            tombstones: self.tombstones,
        };
        let mut records = Vec::with_capacity(self.reviews.len());
        for (record, review) in self.reviews {
            match predictions.next().expect("a result for each text, or it is a bug") {
                Ok(prediction) => {
                    let (best, score) = prediction.best();
                    write.predictions.push(PredictionRow {
                        kafka_offset: record.offset,
                        record_time: record.time,
                        review_id: review.review_id,
                        text: review.text,
                        created_at: review.created_at,
                        attributes: review.attributes,
                        label: labels[best].clone(),
                        score,
                        scores: prediction.scores,
                        version,
                        precision,
                    });
                    records.push(record);
                }
                Err(error) => write.dead_letters.push(record.into_dead_letter(Reason::ModelFailed, &error)),
            }
        }
        Labeled { write, records, held: self.held }
    }
}

#[cfg(test)]
mod tests;
