//! The engine against the reference, on every kind of machine.

use bert::{Activation, Classes, Family, Pooling, Reference, Sharing, initialise};
use candle_core::{Device, Tensor};
use kernels::machines;

use super::*;

/// Sizes that no tile divides, with weights large enough to make a difference.
fn config() -> ModelConfig {
    ModelConfig {
        hidden_size: 30,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 45,
        max_position_embeddings: 70,
        initializer_range: 0.3,
        layer_norm_eps: 1e-5,
        ..ModelConfig::small(50, Classes::new(["a", "b", "c"]))
    }
}

/// Texts of all kinds of lengths: one token, less and more than a vector, more than a tile is wide;
/// and those that start and end inside a panel, or with it.
fn batch() -> TokenBatch {
    let lengths = [1, 5, 10, 16, 37, 2, 70, 31, 64, 3];
    let text = |(number, length): (usize, &usize)| {
        (0..*length).map(|token| ((token * 31 + number * 17) % 49) as u32).collect::<Vec<u32>>()
    };
    TokenBatch::new(&lengths.iter().enumerate().map(text).collect::<Vec<_>>())
}

fn greatest_difference(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), expected.iter().map(Vec::len).collect::<Vec<_>>());
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    pairs.fold(0.0, |greatest, (found, expected)| {
        let difference = (found - expected).abs();
        if difference > greatest || difference.is_nan() { difference } else { greatest }
    })
}

fn check<M: Machine<L, H>, const L: usize, const H: usize>(machine: M) {
    for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::Attention] {
        for (hidden_act, num_hidden_layers) in
            [(Activation::Gelu, 2), (Activation::GeluNew, 1), (Activation::Relu, 3), (Activation::Gelu, 0)]
        {
            let config = ModelConfig { pooling, hidden_act, num_hidden_layers, ..config() };
            let parameters = initialise(&config, 5).unwrap();
            let reference = Reference::new(&config, &parameters).unwrap();
            let expected: Vec<Vec<f32>> = reference.forward(&batch(), None).unwrap().to_vec2().unwrap();
            let spread = greatest_difference(&expected[1..], &expected[..expected.len() - 1]);
            assert!(spread > 0.1, "the texts are too much alike to tell anything: {spread}");

            let engine = Engine::on(machine, &config, &parameters, Precision::F32).unwrap();
            // Twice: the second time with buffers that are not new, and another batch between.
            for _ in 0..2 {
                let found = engine.forward(&batch(), 1).unwrap();
                let difference = greatest_difference(&found, &expected);
                assert!(difference < 1e-4, "{machine:?}, {pooling:?}, {hidden_act:?}: {difference}");
                let alone = engine.forward(&TokenBatch::new(&[&batch().ids()[1..6]]), 1).unwrap();
                assert!(greatest_difference(&alone, &expected[1..2]) < 1e-4);
            }
            let rounded = Engine::on(machine, &config, &parameters, Precision::Int8).unwrap();
            let difference = greatest_difference(&rounded.forward(&batch(), 1).unwrap(), &expected);
            assert!(difference < 0.3, "{machine:?}, {pooling:?}, int8: {difference}");
        }
    }
}

#[test]
fn logits_are_those_of_the_reference_on_every_kind_of_machine() {
    check(Portable);
    machines!(check);
}

/// BERT's relatives, as far as their networks are not its own.
fn relatives() -> Vec<(&'static str, ModelConfig)> {
    let of = |family: Family, head_activation| ModelConfig { family, head_activation, ..config() };
    let albert = Sharing { groups: 2, inner: 2 };
    vec![
        (
            "roberta",
            ModelConfig { padding: Some(8), max_position_embeddings: 79, ..of(Family::Roberta, Activation::Tanh) },
        ),
        ("electra", ModelConfig { embedding_size: Some(13), ..of(Family::Electra, Activation::Gelu) }),
        ("ernie", ModelConfig { task_type_vocab_size: 3, ..of(Family::Ernie, Activation::Tanh) }),
        ("distilbert", ModelConfig { type_vocab_size: 0, ..of(Family::DistilBert, Activation::Relu) }),
        (
            "albert",
            ModelConfig {
                embedding_size: Some(20),
                num_hidden_layers: 8,
                sharing: Some(albert),
                initializer_range: 0.15,
                ..of(Family::Albert, Activation::Tanh)
            },
        ),
        ("megatron-bert", ModelConfig { num_hidden_layers: 3, ..of(Family::MegatronBert, Activation::Tanh) }),
        ("megatron-bert", ModelConfig { num_hidden_layers: 0, ..of(Family::MegatronBert, Activation::Tanh) }),
    ]
}

fn relatives_of<M: Machine<L, H>, const L: usize, const H: usize>(machine: M) {
    for pooling in [Pooling::Cls, Pooling::Mean] {
        for (name, config) in relatives() {
            let config = ModelConfig { pooling, ..config };
            let parameters = initialise(&config, 5).unwrap();
            let reference = Reference::new(&config, &parameters).unwrap();
            let expected: Vec<Vec<f32>> = reference.forward(&batch(), None).unwrap().to_vec2().unwrap();
            let spread = greatest_difference(&expected[1..], &expected[..expected.len() - 1]);
            assert!(spread > 0.1, "{name}: the texts are too much alike to tell anything: {spread}");
            let largest = expected.iter().flatten().fold(1.0, |largest: f32, logit| largest.max(logit.abs()));
            let engine = Engine::on(machine, &config, &parameters, Precision::F32).unwrap();
            for workers in [1, 3] {
                let found = engine.forward(&batch(), workers).unwrap();
                let difference = greatest_difference(&found, &expected);
                assert!(difference < 1e-4 * largest, "{machine:?}, {name}, {pooling:?}: {difference}");
                let alone = engine.forward(&TokenBatch::new(&[&batch().ids()[1..6]]), workers).unwrap();
                assert!(greatest_difference(&alone, &expected[1..2]) < 1e-4 * largest, "{name}");
            }
            let rounded = Engine::on(machine, &config, &parameters, Precision::Int8).unwrap();
            let difference = greatest_difference(&rounded.forward(&batch(), 1).unwrap(), &expected);
            assert!(difference < 0.3 * largest, "{machine:?}, {name}, {pooling:?}, int8: {difference}");
        }
    }
}

#[test]
fn logits_of_berts_relatives_are_those_of_the_reference_on_every_kind_of_machine() {
    relatives_of(Portable);
    machines!(relatives_of);
}

fn isolates<M: Machine<L, H>, const L: usize, const H: usize>(machine: M) {
    for precision in [Precision::F32, Precision::Int8] {
        for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::Attention] {
            let config = ModelConfig { pooling, ..config() };
            let parameters = initialise(&config, 5).unwrap();
            let name = "bert.embeddings.word_embeddings.weight";
            let mut words = parameters.get(name).unwrap().to_vec2::<f32>().unwrap();
            words[49][3] = f32::NAN;
            let words = Tensor::new(words, &Device::Cpu).unwrap();
            let changed = parameters
                .iter()
                .map(|(other, tensor)| (other.to_owned(), if other == name { words.clone() } else { tensor.clone() }));
            let parameters = Parameters::new(changed.collect());
            let engine = Engine::on(machine, &config, &parameters, precision).unwrap();
            let text = |last: u32| [vec![7; 5], vec![8, 9, last], vec![10; 20]];
            let clean = engine.forward(&TokenBatch::new(&text(11)), 1).unwrap();
            let poisoned = engine.forward(&TokenBatch::new(&text(49)), 1).unwrap();
            assert_eq!((&poisoned[0], &poisoned[2]), (&clean[0], &clean[2]), "{machine:?}, {precision}, {pooling:?}");
            assert!(poisoned[1].iter().all(|logit| logit.is_nan()), "{machine:?}, {precision}, {pooling:?}");
        }
    }
}

#[test]
fn a_nan_in_one_text_stays_in_that_text_and_is_not_hidden() {
    isolates(Portable);
    machines!(isolates);
}

fn shares<M: Machine<L, H>, const L: usize, const H: usize>(machine: M) {
    for precision in [Precision::F32, Precision::Int8] {
        for pooling in [Pooling::Cls, Pooling::Mean] {
            let config = ModelConfig { pooling, num_hidden_layers: 3, ..config() };
            let engine = Engine::on(machine, &config, &initialise(&config, 5).unwrap(), precision).unwrap();
            let alone = engine.forward(&batch(), 1).unwrap();
            // More workers than heads, too.
            for workers in [2, 3, 5] {
                let together = engine.forward(&batch(), workers).unwrap();
                assert_eq!(together, alone, "{machine:?}, {precision}, {pooling:?}, {workers} workers");
            }
        }
    }
}

#[test]
fn several_workers_give_the_bits_of_one() {
    shares(Portable);
    machines!(shares);
}

#[test]
fn what_the_tables_do_not_have_is_an_error() {
    let config = config();
    let parameters = initialise(&config, 5).unwrap();
    let engine = Engine::new(&config, &parameters, Precision::F32).unwrap();
    let error = |ids: &[u32]| engine.forward(&TokenBatch::new(&[ids]), 2).unwrap_err().to_string();
    assert!(error(&[1, 50]).contains("row 50 of a table with 50 rows"));
    assert!(error(&[1; 71]).contains("a text of 71 tokens is too long for a model with 70 positions"));
    assert!(engine.forward(&TokenBatch::new::<&[u32]>(&[]), 2).unwrap().is_empty());
}
