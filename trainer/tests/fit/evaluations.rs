//! When a run is evaluated and when it ends, and which checkpoints are left.

use classifier::checkpoint::Manifest;
use trainer::{Base, Dataset, Hyperparameters, Progress, RunOptions, Settings};

use crate::task::{Run, dataset, options, plain_settings, rows, settings, usual, weights};

#[test]
fn the_last_checkpoints_and_the_best_stay() {
    let hyperparameters = Hyperparameters { epochs: 2, eval_steps: Some(2), ..settings() };
    let settings = Settings { hyperparameters, options: RunOptions { save_limit: 1, ..options() } };
    let run = Run::with(&settings, &dataset(128), &Base::NewBert);
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
    let error =
        trainer::fit(&usual(&settings()), &dataset(8), &Base::NewBert, directory.path(), &mut |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
}

#[test]
fn without_validation_texts_the_last_step_is_kept() {
    let rows = rows(64);
    let run = Run::new(&plain_settings(), &Dataset::new(&rows, &[], None).unwrap(), &Base::NewBert);
    assert!(run.summary.evaluation.is_none());
    assert_eq!(run.summary.best_step, 2);
    Manifest::verify(&run.out()).unwrap();
}

#[test]
fn a_run_ends_early_when_nothing_has_been_better_for_long_enough() {
    // So small a rate changes no prediction: the first evaluation stays the best.
    let settings =
        Hyperparameters { epochs: 9, eval_steps: Some(1), patience: Some(3), learning_rate: 1e-12, ..settings() };
    let run = Run::new(&settings, &dataset(64), &Base::NewBert);
    assert_eq!((run.summary.best_step, run.summary.steps, run.losses.len()), (1, 4, 4));
    let patient = Run::new(&Hyperparameters { epochs: 2, patience: None, ..settings }, &dataset(64), &Base::NewBert);
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
        let settings = usual(&Hyperparameters { epochs: 5, eval_epochs, ..plain_settings() });
        trainer::fit(&settings, &dataset(32), &Base::NewBert, &directory.path().join("out"), &mut watch).unwrap();
        steps
    };
    assert_eq!(steps(1), [1, 2, 3, 4, 5]);
    assert_eq!(steps(2), [2, 4, 5]);
}
