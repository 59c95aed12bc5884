//! The training loop on tasks that are small enough to learn in seconds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use classifier::checkpoint::{Checkpoint, Manifest};
use classifier::{Classifier, Device, DeviceChoice};
use trainer::{Base, Dataset, Progress, Row, Settings, Summary};

/// Texts of which the first character alone tells the class.
fn rows(count: usize) -> Vec<Row> {
    let row = |index: usize| {
        let (mark, label) = if index.is_multiple_of(2) { ("好", "1") } else { ("差", "0") };
        let filler: String = "送餐很快味道一般".chars().cycle().skip(index * 5 % 8).take(2 + index * 3 % 11).collect();
        Row { line: index as u64 + 2, text: format!("{mark}{filler}"), label: label.to_owned() }
    };
    (0..count).map(row).collect()
}

fn dataset(train: usize) -> Dataset {
    let rows = rows(train + 40);
    Dataset::new(&rows[..train], &rows[train..], None).unwrap()
}

fn settings() -> Settings {
    Settings { threads: 2, save_limit: 0, device: DeviceChoice::Cpu, ..Settings::for_base(&Base::New) }
}

/// Without what is random or changes over time, so that results can be compared.
fn plain_settings() -> Settings {
    Settings { dropout: Some(0.0), token_masking: 0.0, warmup_ratio: 0.0, epochs: 1, ..settings() }
}

struct Run {
    directory: tempfile::TempDir,
    summary: Summary,
    losses: Vec<f64>,
}

impl Run {
    fn new(settings: &Settings, dataset: &Dataset, base: &Base) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut losses = Vec::new();
        let mut watch = |progress: &Progress| {
            if let Progress::Stepped { loss, .. } = progress {
                losses.push(*loss);
            }
        };
        let summary = trainer::fit(settings, dataset, base, &directory.path().join("out"), &mut watch).unwrap();
        Self { directory, summary, losses }
    }

    fn out(&self) -> PathBuf {
        self.directory.path().join("out")
    }
}

fn weights(directory: &Path) -> Vec<(String, Vec<f32>)> {
    let checkpoint = Checkpoint::open(directory).unwrap();
    let values = |(name, tensor): (&str, &candle_core::Tensor)| {
        (name.to_owned(), tensor.flatten_all().unwrap().to_vec1().unwrap())
    };
    checkpoint.parameters.iter().map(values).collect()
}

#[test]
fn a_task_that_one_character_decides_is_learned_whole_from_random_weights() {
    let run = Run::new(&Settings { epochs: 3, ..settings() }, &dataset(256), &Base::New);
    let evaluation = run.summary.evaluation.as_ref().unwrap();
    assert_eq!(evaluation.accuracy, 1.0, "{:?}", run.losses);
    Manifest::verify(&run.out()).unwrap();

    let classifier = Classifier::open(&run.out(), &Device::Cpu).unwrap();
    let predictions = classifier.classify(&["好送餐很快", "差味道一般般"]).unwrap();
    let names: Vec<&str> = predictions.iter().map(|prediction| classifier.labels().name(prediction.best().0)).collect();
    assert_eq!(names, ["1", "0"]);
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_seed_does_not() {
    let settings = Settings { epochs: 1, ..settings() };
    let run = |seed| weights(&Run::new(&Settings { seed, ..settings.clone() }, &dataset(96), &Base::New).out());
    let first = run(1);
    assert!(first == run(1), "two runs of one seed differ");
    assert!(first != run(2), "two seeds gave the same weights");
}

#[test]
fn accumulating_two_halves_is_the_whole_batch() {
    let data = dataset(64);
    let whole = Run::new(&Settings { batch_size: 64, ..plain_settings() }, &data, &Base::New);
    let halves = Run::new(&Settings { batch_size: 32, accumulation_steps: 2, ..plain_settings() }, &data, &Base::New);
    assert_eq!((whole.losses.len(), halves.losses.len()), (1, 1));
    assert!((whole.losses[0] - halves.losses[0]).abs() < 1e-6);
    // One step of Adam moves by the learning rate in the direction of the gradient's sign: compare where the sign is certain.
    let (whole, halves) = (weights(&whole.out()), weights(&halves.out()));
    let pairs = whole.iter().zip(&halves).flat_map(|((_, a), (_, b))| a.iter().zip(b));
    let differing = pairs.clone().filter(|(a, b)| (*a - *b).abs() > 1e-5).count();
    assert!(differing * 1000 < pairs.count(), "{differing} weights differ");
}

#[test]
fn every_parameter_moves_in_one_step() {
    let settings = Settings { batch_size: 64, ..plain_settings() };
    let first = Run::new(&settings, &dataset(64), &Base::New);
    let second = Run::new(&settings, &dataset(64), &Base::Checkpoint(first.out()));
    for ((name, before), (_, after)) in weights(&first.out()).iter().zip(&weights(&second.out())) {
        assert!(before.iter().zip(after).any(|(before, after)| before != after), "{name} has not moved");
    }
}

#[test]
fn fine_tuning_goes_on_where_the_base_stopped_and_keeps_its_order_of_classes() {
    let first = Run::new(&settings(), &dataset(256), &Base::New);
    let rows = rows(104);
    let reversed = Dataset::new(&rows[..64], &rows[64..], Some(&["1".to_owned(), "0".to_owned()])).unwrap();
    let base = Base::Checkpoint(first.out());
    let second = Run::new(&Settings { epochs: 1, learning_rate: 1e-6, ..settings() }, &reversed, &base);
    assert_eq!(second.summary.evaluation.unwrap().accuracy, 1.0);
    assert!(second.summary.head.initialised.is_empty());
}

#[test]
fn other_classes_than_the_bases_get_a_new_head_that_is_named() {
    let first = Run::new(&plain_settings(), &dataset(64), &Base::New);
    let mut rows = rows(64);
    for (index, row) in rows.iter_mut().enumerate() {
        row.label = ["bad", "good", "mixed"][index % 3].to_owned();
    }
    let three = Dataset::new(&rows, &rows[..10], None).unwrap();
    let second = Run::new(&plain_settings(), &three, &Base::Checkpoint(first.out()));
    let initialised = &second.summary.head.initialised;
    assert!(initialised.iter().all(|name| name.starts_with("classifier.")), "{initialised:?}");
    assert_eq!(initialised.len(), 2);
    assert_eq!(second.summary.head.labels, ["bad", "good", "mixed"]);
}

#[test]
fn the_last_checkpoints_and_the_best_stay() {
    let settings = Settings { epochs: 2, eval_steps: Some(2), save_limit: 1, ..settings() };
    let run = Run::new(&settings, &dataset(128), &Base::New);
    let mut kept: Vec<String> = std::fs::read_dir(run.directory.path().join("out.checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    let mut expected = vec![format!("step-{}", run.summary.best_step), "step-8".to_owned()];
    expected.sort();
    expected.dedup();
    assert_eq!(kept, expected);
    let best = run.directory.path().join(format!("out.checkpoints/step-{}", run.summary.best_step));
    assert!(weights(&best) == weights(&run.out()), "the best checkpoint is not what was written");
}

#[test]
fn what_is_there_already_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let error = trainer::fit(&settings(), &dataset(8), &Base::New, directory.path(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
}

#[test]
fn a_run_that_diverges_ends_with_a_word_of_advice() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { learning_rate: 1e20, warmup_ratio: 0.0, epochs: 5, ..settings() };
    let error =
        trainer::fit(&settings, &dataset(128), &Base::New, &directory.path().join("out"), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("lower the learning rate"), "{error}");
}

#[test]
fn without_validation_texts_the_last_step_is_kept() {
    let rows = rows(64);
    let run = Run::new(&plain_settings(), &Dataset::new(&rows, &[], None).unwrap(), &Base::New);
    assert!(run.summary.evaluation.is_none());
    assert_eq!(run.summary.best_step, 2);
    Manifest::verify(&run.out()).unwrap();
}
