//! Runs that are killed go on where they were, and with what they began with only.

use std::path::Path;

use trainer::{Base, Dataset, Hyperparameters, Progress, RunOptions, Settings, Summary};

use crate::task::{Run, dataset, options, plain_settings, settings};

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
    let hyperparameters =
        Hyperparameters { epochs: 3, eval_steps: Some(3), average: Some(0.8), patience: Some(9), ..settings() };
    let settings = Settings { hyperparameters, options: RunOptions { save_limit: 1, ..options() } };
    let whole = Run::with(&settings, &data, &Base::NewBert);
    // Before the first state, between two, just after one, and in the last step of all.
    for save_steps in [None, Some(2)] {
        let directory = tempfile::tempdir().unwrap();
        let (out, state) = (directory.path().join("out"), directory.path().join("state"));
        let mut settings = settings.clone();
        (settings.options.state, settings.options.save_steps) = (Some(state.clone()), save_steps);
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
    let options = RunOptions { state: Some(state.clone()), save_steps: Some(1), ..options() };
    let settings = Settings { hyperparameters: plain_settings(), options };
    run_until(&settings, &dataset(64), &out, 2).unwrap_err();
    let copy = directory.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(&state).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let ended = run_until(&settings, &dataset(64), &out, 99).unwrap();
    // The checkpoint is there, and so is the state, as if it had not been removed any more.
    let mut again = settings.clone();
    again.options.state = Some(copy.clone());
    let other = Run::new(&Hyperparameters { seed: 7, ..plain_settings() }, &dataset(64), &Base::NewBert);
    let error = run_until(&again, &dataset(64), &other.out(), 99).unwrap_err().to_string();
    assert!(error.contains("another checkpoint than this run's"), "{error}");
    assert_eq!(run_until(&again, &dataset(64), &out, 99).unwrap().manifest_sha256, ended.manifest_sha256);
}

#[test]
fn the_state_of_other_settings_texts_or_another_base_is_refused_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let options = RunOptions { state: Some(directory.path().join("state")), ..options() };
    let settings = Settings { hyperparameters: plain_settings(), options };
    run_until(&settings, &dataset(64), &out, 1).unwrap_err();

    let mut faster = settings.clone();
    faster.hyperparameters.learning_rate = 1e-3;
    let error = run_until(&faster, &dataset(64), &out, 99).unwrap_err().to_string();
    assert!(error.contains("learning-rate is 0.0003, not 0.001"), "{error}");
    let error = run_until(&settings, &dataset(96), &out, 99).unwrap_err().to_string();
    assert!(error.contains("other texts"), "{error}");
    run_until(&settings, &dataset(64), &out, 99).unwrap();
}

#[test]
fn a_run_goes_on_with_other_options() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let options = RunOptions { state: Some(directory.path().join("state")), ..options() };
    let mut settings = Settings { hyperparameters: plain_settings(), options };
    run_until(&settings, &dataset(64), &out, 1).unwrap_err();
    (settings.options.threads, settings.options.save_steps) = (1, Some(1));
    run_until(&settings, &dataset(64), &out, 99).unwrap();
}
