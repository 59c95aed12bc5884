//! BERT's relatives are fine-tuned as BERT is, from the checkpoints of `bert/tests/families.py`.

use std::path::Path;

use classifier::{Classifier, Device, Family};
use trainer::{Base, Hyperparameters};

use crate::task::{Run, dataset, plain_settings, rows, settings, weights};

const FAMILIES: [&str; 11] = [
    "roberta",
    "xlm_roberta",
    "camembert",
    "electra",
    "electra_of_one_width",
    "ernie",
    "ernie_without_tasks",
    "distilbert",
    "albert",
    "albert_of_one_width",
    "megatron_bert",
];

fn base(name: &str) -> Base {
    Base::Checkpoint(Path::new(env!("CARGO_MANIFEST_DIR")).join("../bert/tests/fixtures").join(name))
}

#[test]
fn every_parameter_of_every_family_moves_in_one_step() {
    for name in FAMILIES {
        let Base::Checkpoint(directory) = base(name) else { unreachable!("as it is made above") };
        let run = Run::new(&Hyperparameters { batch_size: 64, ..plain_settings() }, &dataset(64), &base(name));
        let (before, after) = (weights(&directory), weights(&run.out()));
        // Of two classes where the base has ten, all of the head is new.
        for ((name_before, before), (name_after, after)) in before.iter().zip(&after) {
            assert_eq!(name_before, name_after);
            let moved = before.iter().zip(after).any(|(before, after)| before != after);
            assert!(moved, "{name}: {name_before} has not moved");
        }
        let classifier = Classifier::open(&run.out(), &Device::Cpu).unwrap();
        let Base::Checkpoint(directory) = base(name) else { unreachable!("as it is made above") };
        let family = |directory: &Path| bert::checkpoint::read_config(directory).unwrap().family;
        assert_eq!(family(&run.out()), family(&directory));
        assert!(classifier.kind().to_string() == family(&run.out()).model_type(), "{name}");
    }
}

#[test]
fn every_family_learns_what_one_character_decides() {
    // Their random weights are large, and their vocabularies have few of the characters whole.
    let settings = Hyperparameters { epochs: 8, learning_rate: 2e-3, token_masking: 0.0, ..settings() };
    for name in FAMILIES {
        let run = Run::new(&settings, &dataset(256), &base(name));
        let accuracy = run.summary.evaluation.as_ref().unwrap().accuracy;
        assert!(accuracy > 0.9, "{name}: {accuracy}, {:?}", run.losses);
        // What was evaluated is what was saved.
        let classifier = Classifier::open(&run.out(), &Device::Cpu).unwrap();
        let rows = &rows(296)[256..];
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let predictions = classifier.classify(&texts).unwrap();
        let is_right = |(prediction, row): (&classifier::Prediction, &trainer::Row)| {
            classifier.classes().name(prediction.best().0) == row.label
        };
        let right = predictions.iter().zip(rows).filter(|pair| is_right(*pair)).count();
        assert_eq!(right as f64 / rows.len() as f64, accuracy, "{name}");
    }
    assert_eq!(Family::ALL.len(), 9);
}
