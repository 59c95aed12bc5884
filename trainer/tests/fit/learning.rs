//! What a run learns, from which weights and at which rates.

use classifier::checkpoint::Manifest;
use classifier::{Classifier, Device};
use trainer::{Base, ClassWeights, Dataset, Hyperparameters, ProductPrecision, Row};

use crate::task::{Run, dataset, plain_settings, rows, settings, thorough, usual, weights};

#[test]
fn a_task_that_one_character_decides_is_learned_whole_from_random_weights() {
    let run = Run::new(&thorough(), &dataset(256), &Base::NewBert);
    let evaluation = run.summary.evaluation.as_ref().unwrap();
    assert_eq!(evaluation.accuracy, 1.0, "{:?}", run.losses);
    Manifest::verify(&run.out()).unwrap();

    let classifier = Classifier::open(&run.out(), &Device::Cpu).unwrap();
    let predictions = classifier.classify(&["好送餐很快", "差味道一般般"]).unwrap();
    let names: Vec<&str> =
        predictions.iter().map(|prediction| classifier.classes().name(prediction.best().0)).collect();
    assert_eq!(names, ["1", "0"]);
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_seed_does_not() {
    let settings = Hyperparameters { epochs: 1, ..settings() };
    let run =
        |seed| weights(&Run::new(&Hyperparameters { seed, ..settings.clone() }, &dataset(96), &Base::NewBert).out());
    let first = run(1);
    assert!(first == run(1), "two runs of one seed differ");
    assert!(first != run(2), "two seeds gave the same weights");
}

#[test]
fn a_cpu_refuses_to_train_in_bf16_and_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let settings = usual(&Hyperparameters { precision: ProductPrecision::Bf16, ..settings() });
    let out = directory.path().join("out");
    let error = trainer::fit(&settings, &dataset(64), &Base::NewBert, &out, &mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("leave the precision at auto") && error.contains("--device cuda"), "{error}");
}

#[test]
fn accumulating_two_halves_is_the_whole_batch() {
    let data = dataset(64);
    let whole = Run::new(&Hyperparameters { batch_size: 64, ..plain_settings() }, &data, &Base::NewBert);
    let halves =
        Run::new(&Hyperparameters { batch_size: 32, accumulation_steps: 2, ..plain_settings() }, &data, &Base::NewBert);
    assert_eq!((whole.losses.len(), halves.losses.len()), (1, 1));
    assert!((whole.losses[0] - halves.losses[0]).abs() < 1e-6);
    // One step of Adam moves by the learning rate in the direction of the gradient's sign: compare
    // where the sign is certain.
    let (whole, halves) = (weights(&whole.out()), weights(&halves.out()));
    let pairs = whole.iter().zip(&halves).flat_map(|((_, a), (_, b))| a.iter().zip(b));
    let differing = pairs.clone().filter(|(a, b)| (*a - *b).abs() > 1e-5).count();
    assert!(differing * 1000 < pairs.count(), "{differing} weights differ");
}

#[test]
fn every_parameter_moves_in_one_step() {
    let settings = Hyperparameters { batch_size: 64, ..plain_settings() };
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
    let second = Run::new(&Hyperparameters { epochs: 1, learning_rate: 1e-6, ..settings() }, &reversed, &base);
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
    let run = |average| Run::new(&Hyperparameters { average, ..plain_settings() }, &dataset(128), &Base::NewBert);
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
fn a_run_that_diverges_ends_with_a_word_of_advice() {
    let directory = tempfile::tempdir().unwrap();
    let settings = usual(&Hyperparameters { learning_rate: 1e20, warmup_ratio: 0.0, epochs: 5, ..settings() });
    let error = trainer::fit(&settings, &dataset(128), &Base::NewBert, &directory.path().join("out"), &mut |_| Ok(()))
        .unwrap_err();
    assert!(error.to_string().contains("lower the learning rate"), "{error}");
}

#[test]
fn frozen_layers_stay_as_they_are_and_the_others_learn() {
    let first = Run::new(&plain_settings(), &dataset(64), &Base::NewBert);
    let settings = Hyperparameters { freeze: Some(2), ..plain_settings() };
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
    let second = Run::new(
        &Hyperparameters { layer_decay: 0.5, ..plain_settings() },
        &dataset(64),
        &Base::Checkpoint(first.out()),
    );
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
        let settings = Hyperparameters { class_weights, epochs: 3, ..plain_settings() };
        let evaluation = Run::new(&settings, &data, &Base::NewBert).summary.evaluation.unwrap();
        evaluation.per_class.iter().map(|class| class.recall).collect::<Vec<f64>>()
    };
    // One class is all that counts, so it is all that is answered.
    assert_eq!(recall(ClassWeights::Each(vec![0.0, 1.0])), [0.0, 1.0]);
    assert_eq!(recall(ClassWeights::Each(vec![1.0, 0.0])), [1.0, 0.0]);
}
