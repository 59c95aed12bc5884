//! The inference thread with models that fail, panic, die and are replaced.

use std::sync::Mutex;

use classifier::{Classes, Truncation};
use harness::until;
use store::{Epoch, NextOffset, Version};

use super::*;
use crate::batch::Batch;
use crate::bisect::tests::Faulty;
use crate::health::Heartbeat;
use crate::in_flight::Held;
use crate::message::{Record, Review};
use crate::model::Constant;
use crate::predict::Queue;

#[test]
fn ids_of_a_model_that_no_longer_serves_are_not_taken() {
    let encoder: Encoder = Arc::new(|_| Ok(Vec::new()));
    let signs = Signs {
        metrics: Arc::new(Metrics::new()),
        health: Arc::new(Health::new()),
        batch_size: Arc::new(BatchSize::new(1_000, 512)),
        serves: watch::channel(Some(encoder.clone())).0,
    };
    assert!(signs.is_current(&encoder));
    signs.serves.send_replace(Some(Arc::new(|_| Ok(Vec::new()))));
    assert!(!signs.is_current(&encoder));
}

/// Fails on its device, and perhaps on the CPU too.
struct OnDevice {
    model: Faulty,
    works_on_cpu: bool,
}

impl Model for OnDevice {
    fn classes(&self) -> &Classes {
        self.model.classes()
    }

    fn max_length(&self) -> usize {
        self.model.max_length()
    }

    fn version(&self) -> Version {
        Version(3)
    }

    fn classify(&mut self, texts: &[&str]) -> Result<Vec<Prediction>> {
        self.model.classify(texts)
    }

    fn on_cpu(&self) -> Option<Result<Box<dyn Model>>> {
        let model = Faulty { broken: !self.works_on_cpu, ..Faulty::new() };
        Some(Ok(Box::new(Numbered { model, version: Version(3), _alive: Arc::new(()) })))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_whose_device_dies_goes_on_on_the_cpu_and_says_so_and_no_record_is_lost() {
    let dying = OnDevice { model: Faulty { breaks_after: 1, ..Faulty::new() }, works_on_cpu: true };
    let Running { batches, mut labeled, health, metrics, .. } = run(dying);
    for offset in 0..3 {
        batches.send(batch(offset)).await.unwrap();
        assert_eq!(version(&labeled.recv().await.unwrap()), Version(3));
    }
    assert_eq!(health.fallback.get().map(String::as_str), Some("the device is gone"));
    assert_eq!(health.model.problem(), None);
    assert!(metrics.encode().contains(r#"labelstream_model_info{version="3",device="cpu"} 1"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_fails_on_the_cpu_too_waits_where_it_is() {
    let dying = OnDevice { model: Faulty { breaks_after: 1, ..Faulty::new() }, works_on_cpu: false };
    let Running { batches, models, mut labeled, health, .. } = run(dying);
    batches.send(batch(0)).await.unwrap();
    let (replaced, _old) = oneshot::channel();
    models.send(Handover { model: Box::new(Numbered::new(4, &Arc::new(()))), replaced }).await.unwrap();
    assert_eq!(version(&labeled.recv().await.unwrap()), Version(4));
    assert_eq!(health.fallback.get(), None);
}

/// Says of every text that it is by this version; counts how many of its kind are in memory;
/// broken, if it says so.
struct Numbered {
    model: Faulty,
    version: Version,
    _alive: Arc<()>,
}

impl Numbered {
    fn new(version: i64, alive: &Arc<()>) -> Self {
        Self { model: Faulty::new(), version: Version(version), _alive: alive.clone() }
    }
}

impl Model for Numbered {
    fn classes(&self) -> &Classes {
        self.model.classes()
    }

    fn max_length(&self) -> usize {
        100 + self.version.0 as usize
    }

    fn version(&self) -> Version {
        self.version
    }

    fn classify(&mut self, texts: &[&str]) -> Result<Vec<Prediction>> {
        self.model.classify(texts)
    }
}

/// The thread, and the far ends of its channels.
struct Running {
    batches: mpsc::Sender<Tokenized>,
    models: mpsc::Sender<Handover>,
    labeled: mpsc::Receiver<Vec<Labeled>>,
    batch_size: Arc<BatchSize>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    predict: Queue,
}

fn run(model: impl Model + 'static) -> Running {
    run_with(model, Health::new())
}

fn run_with(model: impl Model + 'static, health: Health) -> Running {
    let (batches, to_label) = mpsc::channel(1);
    let (models, to_take) = mpsc::channel(1);
    let (predict, to_predict) = Queue::new();
    let (to_write, labeled) = mpsc::channel(1);
    let channels = Channels {
        batches: to_label,
        predict: to_predict,
        models: to_take,
        labeled: to_write,
        abort: CancellationToken::new(),
    };
    let batch_size = Arc::new(BatchSize::new(1_000, model.max_length()));
    let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(health));
    let signs = Signs {
        metrics: metrics.clone(),
        health: health.clone(),
        batch_size: batch_size.clone(),
        serves: watch::channel(None).0,
    };
    let runtime = Handle::current();
    std::thread::spawn(move || Inference::new(Box::new(model), channels, signs, 0.4).unwrap().run(&runtime));
    Running { batches, models, labeled, batch_size, health, metrics, predict }
}

/// A batch with a review in each of three partitions.
fn batch(offset: i64) -> Tokenized {
    let mut batch = Batch::default();
    for partition in 0..3 {
        let review = Review { review_id: String::new(), text: "a".to_owned(), created_at: None, attributes: None };
        batch.sections.push(Section {
            partition,
            epoch: Epoch(1),
            from: NextOffset(offset),
            to: NextOffset(offset + 1),
            at_a_time: None,
            reviews: vec![(Record { offset, ..Record::default() }, review)],
            dead_letters: Vec::new(),
            tombstones: 0,
            held: Held::default(),
        });
    }
    Tokenized { batch, tokens: None }
}

/// The version that has labeled all of a batch.
fn version(labeled: &[Labeled]) -> Version {
    let rows = labeled.iter().flat_map(|labeled| &labeled.write.predictions);
    let mut versions: Vec<Version> = rows.map(|row| row.version).collect();
    assert_eq!(versions.len(), 3);
    versions.dedup();
    let [version] = versions[..] else { panic!("a batch by {versions:?}") };
    version
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_takes_over_between_two_batches_and_the_old_one_is_given_back() {
    let alive = Arc::new(());
    let Running { batches, models, mut labeled, batch_size, .. } = run(Numbered::new(0, &alive));
    let feed = tokio::spawn(async move {
        for offset in 0..2_000 {
            batches.send(batch(offset)).await.unwrap();
        }
    });
    let swaps = tokio::spawn({
        let alive = alive.clone();
        async move {
            for version in 1..=20 {
                let (replaced, old) = oneshot::channel();
                let model = Box::new(Numbered::new(version, &alive));
                models.send(Handover { model, replaced }).await.unwrap();
                let old = old.await.unwrap();
                assert_eq!(old.version(), Version(version - 1));
                drop(old);
                assert_eq!(Arc::strong_count(&alive), 3, "the two handles here and the model that serves");
            }
        }
    });
    let mut versions = Vec::new();
    while let Some(labeled) = labeled.recv().await {
        versions.push(version(&labeled));
    }
    assert!(versions.is_sorted() && versions.len() == 2_000, "{versions:?}");
    feed.await.unwrap();
    swaps.await.unwrap();
    assert_eq!(batch_size.max_length(), 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_breaks_in_the_middle_of_a_batch_can_be_replaced_and_no_record_is_lost() {
    let alive = Arc::new(());
    let mut breaking = Numbered::new(1, &alive);
    // The first call is the canary at the start.
    breaking.model.breaks_after = 1;
    let Running { batches, models, mut labeled, .. } = run(breaking);
    batches.send(batch(0)).await.unwrap();
    let (replaced, old) = oneshot::channel();
    models.send(Handover { model: Box::new(Numbered::new(2, &alive)), replaced }).await.unwrap();
    assert_eq!(version(&labeled.recv().await.unwrap()), Version(2));
    assert_eq!(old.await.unwrap().version(), Version(1));
}

/// Stops in each pass until it is let go on; keeps how many texts each had.
struct Stopping {
    inner: Constant,
    go: std::sync::mpsc::Receiver<()>,
    texts: Arc<Mutex<Vec<usize>>>,
}

impl Model for Stopping {
    fn classes(&self) -> &Classes {
        self.inner.classes()
    }

    fn max_length(&self) -> usize {
        512
    }

    fn version(&self) -> Version {
        Version(1)
    }

    fn classify(&mut self, texts: &[&str]) -> Result<Vec<Prediction>> {
        self.go.recv()?;
        self.texts.lock().unwrap().push(texts.len());
        self.inner.classify(texts)
    }

    fn canary(&mut self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_during_a_pass_are_answered_together_and_those_that_hung_up_never() {
    let texts: Arc<Mutex<Vec<usize>>> = Arc::default();
    let (go, wait) = std::sync::mpsc::channel();
    // All of it is kept: without its batches the thread ends.
    let running = run(Stopping { inner: Constant::new(Version(1)), go: wait, texts: texts.clone() });
    let predict = &running.predict;
    let ask = || {
        let (reply, answer) = oneshot::channel();
        let texts = vec!["a".to_owned()];
        let place = predict.place(&texts).unwrap();
        assert!(predict.send(PredictJob { texts, truncation: Truncation::Right, raw: false, reply, _place: place }));
        answer
    };
    let first = ask();
    go.send(()).unwrap();
    first.await.unwrap().unwrap();
    let second = ask();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let hundred: Vec<_> = (0..100).map(|_| ask()).collect();
    for _ in 0..50 {
        drop(ask());
    }
    go.send(()).unwrap();
    second.await.unwrap().unwrap();
    go.send(()).unwrap();
    for answer in hundred {
        assert_eq!(answer.await.unwrap().unwrap().scores, [[0.25, 0.75]]);
    }
    let passes = texts.lock().unwrap().clone();
    assert_eq!((passes.iter().sum::<usize>(), passes.len()), (102, 3), "{passes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thread_that_hangs_is_seen_and_one_that_ends_is_not() {
    let (go, wait) = std::sync::mpsc::channel();
    let stopping = Stopping { inner: Constant::new(Version(1)), go: wait, texts: Arc::default() };
    let health = Health { inference_thread: Heartbeat::new(Duration::ZERO), ..Health::new() };
    assert_eq!(health.inference_thread.problem(), None, "not begun");
    let Running { batches, mut labeled, health, .. } = run_with(stopping, health);
    batches.send(batch(0)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let problem = health.inference_thread.problem().unwrap();
    assert!(problem.starts_with("it has hung for"), "{problem}");
    go.send(()).unwrap();
    labeled.recv().await.unwrap();
    drop(batches);
    assert!(labeled.recv().await.is_none());
    until("the thread's last word", async || health.inference_thread.problem().is_none()).await;
}
