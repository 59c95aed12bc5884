//! The reference with products in bf16, which a GPU has. On the CPU of the tests they are products
//! in f32, rounded.

use candle_core::{D, Result, Tensor, Var};

use super::Reference;
use crate::{Classes, Dropout, ModelConfig, Parameters, Pooling, TokenBatch, initialise};

fn tiny(pooling: Pooling) -> ModelConfig {
    ModelConfig {
        hidden_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 40,
        max_position_embeddings: 16,
        initializer_range: 0.2,
        pooling,
        ..ModelConfig::small(30, Classes::unnamed(3))
    }
}

fn batch() -> TokenBatch {
    TokenBatch::new(&[
        vec![2, 7, 3],
        vec![2, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 3],
        vec![2, 3],
        vec![2, 21, 22, 23, 29, 3],
    ])
}

/// Cross-entropy of the four texts' classes.
fn loss(logits: &Tensor) -> Result<Tensor> {
    let classes = Tensor::new(&[[0_u32], [1], [2], [1]], logits.device())?;
    let powers = logits.exp()?.sum_keepdim(D::Minus1)?.log()?;
    logits.gather(&classes, 1)?.sub(&powers)?.mean_all()?.neg()
}

#[test]
fn in_bf16_parameters_and_gradients_stay_f32_and_are_near_those_of_f32() {
    for pooling in [Pooling::Cls, Pooling::Mean] {
        let config = tiny(pooling);
        let parameters = initialise(&config, 5).unwrap().trainable().unwrap();
        let dropout = Dropout::new(9, 4);
        let exact = Reference::new(&config, &parameters).unwrap();
        let run = |model: &Reference| {
            let logits = model.forward(&batch(), Some(&dropout)).unwrap();
            let gradients = loss(&logits).unwrap().backward().unwrap();
            let gradient = |(_, parameter): (&str, &Tensor)| gradients.get(parameter).unwrap().clone();
            (logits, parameters.iter().map(gradient).collect::<Vec<_>>())
        };
        let ((exact_logits, exact_gradients), (logits, gradients)) = (run(&exact), run(&exact.clone().in_bf16()));
        let norm = |tensor: &Tensor| tensor.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        let distance = |a: &Tensor, b: &Tensor| norm(&(a - b).unwrap());
        let far = distance(&logits, &exact_logits) / norm(&exact_logits);
        assert!(far > 0.0 && far < 0.03, "{far}: not rounded, or wrong");
        for (((name, _), found), expected) in parameters.iter().zip(&gradients).zip(&exact_gradients) {
            assert_eq!(found.dtype(), candle_core::DType::F32, "{name}");
            let far = distance(found, expected) / (norm(expected) + 1e-3);
            // The true gradient of a key's bias is 0.
            assert!(far < 0.1 || name.ends_with("key.bias"), "{name}: {far}");
        }
    }
}

#[test]
fn in_bf16_the_texts_are_learned_in_steps_that_bf16_would_round_away() {
    let config = tiny(Pooling::Cls);
    let train = |in_bf16: bool| -> (Vec<f32>, Parameters) {
        let parameters = initialise(&config, 5).unwrap().trainable().unwrap();
        let model = Reference::new(&config, &parameters).unwrap();
        let model = if in_bf16 { model.in_bf16() } else { model };
        let step = |_| {
            let loss = loss(&model.forward(&batch(), None).unwrap()).unwrap();
            let gradients = loss.backward().unwrap();
            for (_, parameter) in parameters.iter() {
                let moved = (parameter.detach() - (gradients.get(parameter).unwrap() * 3e-3).unwrap()).unwrap();
                Var::from_tensor(parameter).unwrap().set(&moved).unwrap();
            }
            loss.to_scalar::<f32>().unwrap()
        };
        ((0..200).map(step).collect(), parameters.detached())
    };
    let ((exact, _), (rounded, parameters)) = (train(false), train(true));
    assert!(rounded[0] != exact[0] && (rounded[0] - exact[0]).abs() < 0.05, "{} {}", rounded[0], exact[0]);
    assert!(rounded[199] < rounded[0] / 2.0, "{rounded:?}");
    let values = parameters.iter().filter(|(name, _)| name.ends_with("dense.weight"));
    let values: Vec<f32> =
        values.flat_map(|(_, tensor)| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect();
    let kept = values.iter().filter(|value| value.to_bits() & 0xffff != 0).count();
    assert!(kept as f64 > 0.9 * values.len() as f64, "{kept} of {}", values.len());
}
