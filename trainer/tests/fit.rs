//! The training loop on tasks that are small enough to learn in seconds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use classifier::checkpoint::{Checkpoint, Manifest};
use classifier::{Classifier, Device, DeviceChoice};
use trainer::{Base, ClassWeights, Dataset, Precision, Progress, Row, Settings, Summary};

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
    Settings { threads: 2, save_limit: 0, device: DeviceChoice::Cpu, ..Settings::for_base(&Base::NewBert) }
}

/// Enough for the task of `rows` to be learned whole.
fn thorough() -> Settings {
    Settings { epochs: 5, learning_rate: 1e-3, token_masking: 0.0, ..settings() }
}

/// Without what is random or changes over time, so that results can be compared.
fn plain_settings() -> Settings {
    Settings { dropout: Some(0.0), token_masking: 0.0, average: None, warmup_ratio: 0.0, epochs: 1, ..settings() }
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
            Ok(())
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
    let run = Run::new(&thorough(), &dataset(256), &Base::NewBert);
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
    let run = |seed| weights(&Run::new(&Settings { seed, ..settings.clone() }, &dataset(96), &Base::NewBert).out());
    let first = run(1);
    assert!(first == run(1), "two runs of one seed differ");
    assert!(first != run(2), "two seeds gave the same weights");
}

#[test]
fn in_bf16_the_task_is_learned_and_the_weights_keep_what_bf16_would_round_away() {
    let run = |precision| Run::new(&Settings { precision, epochs: 3, ..thorough() }, &dataset(192), &Base::NewBert);
    let (exact, rounded) = (run(Precision::F32), run(Precision::Bf16));
    assert!(rounded.summary.evaluation.as_ref().unwrap().accuracy > 0.9, "{:?}", rounded.losses);
    assert!(rounded.losses[0] != exact.losses[0] && (rounded.losses[0] - exact.losses[0]).abs() < 0.01);
    assert!(rounded.losses.last().unwrap() < &(rounded.losses[0] / 2.0), "{:?}", rounded.losses);
    let is_rounded = |value: &f32| value.to_bits() & 0xffff == 0;
    let weights: Vec<f32> = weights(&rounded.out()).into_iter().flat_map(|(_, values)| values).collect();
    let kept = weights.iter().filter(|value| !is_rounded(value)).count();
    assert!(kept as f64 > 0.9 * weights.len() as f64, "{kept} of {}", weights.len());
}

#[test]
fn accumulating_two_halves_is_the_whole_batch() {
    let data = dataset(64);
    let whole = Run::new(&Settings { batch_size: 64, ..plain_settings() }, &data, &Base::NewBert);
    let halves =
        Run::new(&Settings { batch_size: 32, accumulation_steps: 2, ..plain_settings() }, &data, &Base::NewBert);
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
    let first = Run::new(&settings, &dataset(64), &Base::NewBert);
    let second = Run::new(&settings, &dataset(64), &Base::Checkpoint(first.out()));
    for ((name, before), (_, after)) in weights(&first.out()).iter().zip(&weights(&second.out())) {
        assert!(before.iter().zip(after).any(|(before, after)| before != after), "{name} has not moved");
    }
}

#[test]
fn fine_tuning_goes_on_where_the_base_stopped_and_keeps_its_order_of_classes() {
    let first = Run::new(&thorough(), &dataset(256), &Base::NewBert);
    let rows = rows(104);
    let reversed = Dataset::new(&rows[..64], &rows[64..], Some(&["1".to_owned(), "0".to_owned()])).unwrap();
    let base = Base::Checkpoint(first.out());
    let second = Run::new(&Settings { epochs: 1, learning_rate: 1e-6, ..settings() }, &reversed, &base);
    assert_eq!(second.summary.evaluation.unwrap().accuracy, 1.0);
    assert!(second.summary.head.initialised.is_empty());
}

#[test]
fn other_classes_than_the_bases_get_a_new_head_that_is_named() {
    let first = Run::new(&plain_settings(), &dataset(64), &Base::NewBert);
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
fn an_average_of_the_weights_is_what_is_saved_and_learning_does_not_see_it() {
    let run = |average| Run::new(&Settings { average, ..plain_settings() }, &dataset(128), &Base::NewBert);
    let (plain, latest, averaged) = (run(None), run(Some(0.0)), run(Some(0.9)));
    assert_eq!(plain.losses, averaged.losses, "the average has changed what is learned");
    let furthest = |other: &Run| {
        let (plain, other) = (weights(&plain.out()), weights(&other.out()));
        let pairs = plain.iter().zip(&other).flat_map(|((_, a), (_, b))| a.iter().zip(b));
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    // An average that keeps nothing of itself is the weights; one that does lags behind them.
    assert!(furthest(&latest) < 1e-6, "{}", furthest(&latest));
    assert!(furthest(&averaged) > 1e-5, "{}", furthest(&averaged));
}

#[test]
fn the_last_checkpoints_and_the_best_stay() {
    let settings = Settings { epochs: 2, eval_steps: Some(2), save_limit: 1, ..settings() };
    let run = Run::new(&settings, &dataset(128), &Base::NewBert);
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
    let error = trainer::fit(&settings(), &dataset(8), &Base::NewBert, directory.path(), &mut |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
}

#[test]
fn a_run_that_diverges_ends_with_a_word_of_advice() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { learning_rate: 1e20, warmup_ratio: 0.0, epochs: 5, ..settings() };
    let error = trainer::fit(&settings, &dataset(128), &Base::NewBert, &directory.path().join("out"), &mut |_| Ok(()))
        .unwrap_err();
    assert!(error.to_string().contains("lower the learning rate"), "{error}");
}

#[test]
fn without_validation_texts_the_last_step_is_kept() {
    let rows = rows(64);
    let run = Run::new(&plain_settings(), &Dataset::new(&rows, &[], None).unwrap(), &Base::NewBert);
    assert!(run.summary.evaluation.is_none());
    assert_eq!(run.summary.best_step, 2);
    Manifest::verify(&run.out()).unwrap();
}

/// An error of the one who watches stands for a process that is killed: nothing is tidied up.
fn run_until(settings: &Settings, dataset: &Dataset, out: &Path, last: usize) -> anyhow::Result<Summary> {
    let mut watch = |progress: &Progress| match progress {
        Progress::Stepped { step, .. } if *step == last => anyhow::bail!("killed"),
        _ => Ok(()),
    };
    trainer::fit(settings, dataset, &Base::NewBert, out, &mut watch)
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bits() {
    let data = dataset(128);
    let settings =
        Settings { epochs: 3, eval_steps: Some(3), average: Some(0.8), save_limit: 1, patience: Some(9), ..settings() };
    let whole = Run::new(&settings, &data, &Base::NewBert);
    // Before the first state, between two, just after one, and in the last step of all.
    for save_steps in [None, Some(2)] {
        let directory = tempfile::tempdir().unwrap();
        let (out, state) = (directory.path().join("out"), directory.path().join("state"));
        let settings = Settings { state: Some(state.clone()), save_steps, ..settings.clone() };
        for last in [1, 4, 7, 12] {
            assert_eq!(run_until(&settings, &data, &out, last).unwrap_err().to_string(), "killed");
        }
        let mut resumed = None;
        let mut watch = |progress: &Progress| {
            if let Progress::Resumed { step } = progress {
                resumed = Some(*step);
            }
            Ok(())
        };
        let summary = trainer::fit(&settings, &data, &Base::NewBert, &out, &mut watch).unwrap();
        assert_eq!(resumed, Some(if save_steps.is_some() { 10 } else { 9 }));
        // The manifest has the hashes of all files, the settings and the metrics.
        assert_eq!(summary.manifest_sha256, whole.summary.manifest_sha256);
        assert_eq!(summary.train_loss.to_bits(), whole.summary.train_loss.to_bits());
        let kept = |out: &Path| {
            let mut names: Vec<_> = std::fs::read_dir(out.with_extension("checkpoints"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            names
        };
        assert_eq!(kept(&out), kept(&whole.out()));
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0, "the state of a run that has ended is left");
    }
}

#[test]
fn a_run_that_was_killed_after_its_last_word_ends_the_same_and_takes_no_other_checkpoint_for_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let (out, state) = (directory.path().join("out"), directory.path().join("state"));
    let settings = Settings { state: Some(state.clone()), save_steps: Some(1), ..plain_settings() };
    run_until(&settings, &dataset(64), &out, 2).unwrap_err();
    let copy = directory.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(&state).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let ended = run_until(&settings, &dataset(64), &out, 99).unwrap();
    // The checkpoint is there, and so is the state, as if it had not been removed any more.
    let again = Settings { state: Some(copy.clone()), ..settings.clone() };
    let other = Run::new(&Settings { seed: 7, ..plain_settings() }, &dataset(64), &Base::NewBert);
    let error = run_until(&again, &dataset(64), &other.out(), 99).unwrap_err().to_string();
    assert!(error.contains("another checkpoint than this run's"), "{error}");
    assert_eq!(run_until(&again, &dataset(64), &out, 99).unwrap().manifest_sha256, ended.manifest_sha256);
}

#[test]
fn the_state_of_other_settings_texts_or_another_base_is_refused_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let settings = Settings { state: Some(directory.path().join("state")), ..plain_settings() };
    run_until(&settings, &dataset(64), &out, 1).unwrap_err();

    let faster = Settings { learning_rate: 1e-3, ..settings.clone() };
    let error = run_until(&faster, &dataset(64), &out, 99).unwrap_err().to_string();
    assert!(error.contains("learning-rate is 0.0003, not 0.001"), "{error}");
    let error = run_until(&settings, &dataset(96), &out, 99).unwrap_err().to_string();
    assert!(error.contains("other texts"), "{error}");
    run_until(&settings, &dataset(64), &out, 99).unwrap();
}

#[test]
fn a_run_ends_early_when_nothing_has_been_better_for_long_enough() {
    // So small a rate changes no prediction: the first evaluation stays the best.
    let settings = Settings { epochs: 9, eval_steps: Some(1), patience: Some(3), learning_rate: 1e-12, ..settings() };
    let run = Run::new(&settings, &dataset(64), &Base::NewBert);
    assert_eq!((run.summary.best_step, run.summary.steps, run.losses.len()), (1, 4, 4));
    let patient = Run::new(&Settings { epochs: 2, patience: None, ..settings }, &dataset(64), &Base::NewBert);
    assert_eq!(patient.summary.steps, 4);
}

#[test]
fn evaluations_come_every_so_many_epochs_and_at_the_end() {
    let steps = |eval_epochs| {
        let directory = tempfile::tempdir().unwrap();
        let mut steps = Vec::new();
        let mut watch = |progress: &Progress| {
            if let Progress::Evaluated { step, .. } = progress {
                steps.push(*step);
            }
            Ok(())
        };
        let settings = Settings { epochs: 5, eval_epochs, ..plain_settings() };
        trainer::fit(&settings, &dataset(32), &Base::NewBert, &directory.path().join("out"), &mut watch).unwrap();
        steps
    };
    assert_eq!(steps(1), [1, 2, 3, 4, 5]);
    assert_eq!(steps(2), [2, 4, 5]);
}

#[test]
fn frozen_layers_stay_as_they_are_and_the_others_learn() {
    let first = Run::new(&plain_settings(), &dataset(64), &Base::NewBert);
    let settings = Settings { freeze: Some(2), ..plain_settings() };
    let second = Run::new(&settings, &dataset(64), &Base::Checkpoint(first.out()));
    for ((name, before), (_, after)) in weights(&first.out()).iter().zip(&weights(&second.out())) {
        let is_frozen = ["bert.embeddings.", "bert.encoder.layer.0.", "bert.encoder.layer.1."]
            .iter()
            .any(|part| name.starts_with(part));
        assert_eq!(before == after, is_frozen, "{name}");
    }
    assert!(second.summary.head.trainable_parameters < first.summary.head.trainable_parameters);
}

#[test]
fn layers_near_the_input_move_less_where_their_rate_decays() {
    let first = Run::new(&plain_settings(), &dataset(64), &Base::NewBert);
    let second =
        Run::new(&Settings { layer_decay: 0.5, ..plain_settings() }, &dataset(64), &Base::Checkpoint(first.out()));
    let (before, after) = (weights(&first.out()), weights(&second.out()));
    let moved = |part: &str| {
        let places = before.iter().zip(&after).find(|((name, _), _)| name.contains(part)).unwrap();
        places.0.1.iter().zip(&places.1.1).map(|(before, after)| (before - after).abs()).fold(0.0, f32::max)
    };
    let moves: Vec<f32> = (0..4).map(|layer| moved(&format!("layer.{layer}.output.dense.bias"))).collect();
    assert!(moves.windows(2).all(|pair| pair[1] > 1.5 * pair[0]), "{moves:?}");
}

#[test]
fn weights_of_classes_change_what_is_learned() {
    let rows = rows(96);
    let few: Vec<Row> = rows[..64]
        .iter()
        .enumerate()
        .filter(|(index, _)| index % 2 == 1 || index % 8 == 0)
        .map(|(_, row)| row.clone())
        .collect();
    let data = Dataset::new(&few, &rows[64..], None).unwrap();
    let recall = |class_weights| {
        let settings = Settings { class_weights, epochs: 3, ..plain_settings() };
        let evaluation = Run::new(&settings, &data, &Base::NewBert).summary.evaluation.unwrap();
        evaluation.per_class.iter().map(|class| class.recall).collect::<Vec<f64>>()
    };
    // One class is all that counts, so it is all that is answered.
    assert_eq!(recall(ClassWeights::Each(vec![0.0, 1.0])), [0.0, 1.0]);
    assert_eq!(recall(ClassWeights::Each(vec![1.0, 0.0])), [1.0, 0.0]);
}

#[test]
fn two_replicas_with_half_of_each_batch_take_the_steps_of_one() {
    let data = dataset(72);
    let settings = Settings { batch_size: 16, epochs: 2, eval_steps: Some(3), ..settings() };
    let one = Run::new(&settings, &data, &Base::NewBert);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let replica = |rank| Settings {
        threads: 1,
        replica: Some(trainer::Replica { rank, count: 2, address: free.clone(), local_rank: rank }),
        ..settings.clone()
    };
    let follower = std::thread::scope(|scope| {
        let follower = scope.spawn(|| trainer::follow(&replica(1), &data, &Base::NewBert));
        let two = Run::new(&replica(0), &data, &Base::NewBert);
        // Two replicas of one thread add up the same shards in the same order as one of two threads: not a bit differs.
        assert!(weights(&two.out()) == weights(&one.out()), "two replicas went another way than one");
        assert_eq!(two.losses, one.losses);
        follower.join().unwrap()
    });
    follower.unwrap();
}

#[test]
fn a_replica_with_other_settings_is_sent_away() {
    let data = dataset(32);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let replica = |rank, learning_rate| Settings {
        learning_rate,
        replica: Some(trainer::Replica { rank, count: 2, address: free.clone(), local_rank: rank }),
        ..plain_settings()
    };
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| trainer::follow(&replica(1, 1e-4), &data, &Base::NewBert));
        let out = directory.path().join("out");
        let error =
            trainer::fit(&replica(0, 1e-3), &data, &Base::NewBert, &out, &mut |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("replica 1 has other settings"), "{error}");
        assert!(follower.join().unwrap().is_err());
    });
}
