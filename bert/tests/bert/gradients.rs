//! The reference as something to learn with: its gradients, its dropout, its first weights.

use bert::{Activation, Classes, Dropout, ModelConfig, Parameters, Pooling, Reference, TokenBatch, initialise};
use candle_core::{D, Result, Tensor, Var};

fn tiny(activation: Activation) -> ModelConfig {
    ModelConfig {
        hidden_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 40,
        max_position_embeddings: 16,
        hidden_act: activation,
        initializer_range: 0.2,
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
fn after_one_step_every_parameter_has_a_gradient_and_has_moved() {
    for activation in [Activation::Gelu, Activation::GeluNew, Activation::Relu] {
        let config = tiny(activation);
        let parameters = initialise(&config, 1).unwrap().trainable().unwrap();
        let before = parameters.snapshot().unwrap();
        let model = Reference::new(&config, &parameters).unwrap();
        let first = loss(&model.forward(&batch(), Some(&Dropout::new(1, 0))).unwrap()).unwrap();
        let gradients = first.backward().unwrap();
        for (name, parameter) in parameters.iter() {
            let gradient = gradients.get(parameter).unwrap_or_else(|| panic!("{name} has no gradient"));
            // A key's bias moves all scores of a query alike, which softmax does not see: its true
            // gradient is 0.
            let size = gradient.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(size > 1e-6 || name.ends_with("key.bias"), "{name}: {size}");
            let variable = Var::from_tensor(parameter).unwrap();
            variable.set(&(parameter.detach() - (gradient * 0.1).unwrap()).unwrap()).unwrap();
            let moved = (parameter.detach() - before.get(name).unwrap()).unwrap().abs().unwrap();
            let moved = moved.max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(moved > 0.0 || name.ends_with("key.bias"), "{name} has not moved");
        }
        // The model shares the variables, so it sees the step, and the step was downhill.
        let plain =
            |model: &Reference| loss(&model.forward(&batch(), None).unwrap()).unwrap().to_scalar::<f32>().unwrap();
        let before = plain(&Reference::new(&config, &before).unwrap());
        assert!(plain(&model) < before);
    }
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::Attention] {
        check_slopes(&ModelConfig { pooling, ..tiny(Activation::Gelu) });
    }
}

fn check_slopes(config: &ModelConfig) {
    let start = initialise(config, 5).unwrap();
    let parameters = start.trainable().unwrap();
    let dropout = Dropout::new(9, 4);
    let loss_of = |parameters: &Parameters| {
        let model = Reference::new(config, parameters).unwrap();
        loss(&model.forward(&batch(), Some(&dropout)).unwrap()).unwrap()
    };
    let gradients = loss_of(&parameters).backward().unwrap();
    for (name, parameter) in parameters.iter() {
        let gradient: Vec<f32> = gradients.get(parameter).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let values: Vec<f32> = parameter.flatten_all().unwrap().to_vec1().unwrap();
        // The steepest place of each parameter.
        let place = (0..gradient.len()).max_by(|a, b| gradient[*a].abs().total_cmp(&gradient[*b].abs())).unwrap();
        let at = |offset: f32| {
            let mut moved = values.clone();
            moved[place] += offset;
            let moved = Tensor::from_vec(moved, parameter.dims(), parameter.device()).unwrap();
            let others = start
                .iter()
                .map(|(other, tensor)| (other.to_owned(), if other == name { moved.clone() } else { tensor.clone() }));
            loss_of(&Parameters::new(others.collect())).to_scalar::<f32>().unwrap()
        };
        let slope = (at(5e-3) - at(-5e-3)) / 1e-2;
        assert!(
            (slope - gradient[place]).abs() < 2e-3 + 0.02 * slope.abs(),
            "{name}: gradient {}, slope {slope}",
            gradient[place]
        );
    }
}

#[test]
fn dropout_depends_on_seed_step_and_shard_and_on_nothing_else() {
    let config = tiny(Activation::Gelu);
    let model = Reference::new(&config, &initialise(&config, 1).unwrap()).unwrap();
    let logits =
        |dropout: Option<Dropout>| model.forward(&batch(), dropout.as_ref()).unwrap().to_vec2::<f32>().unwrap();
    let first = logits(Some(Dropout::new(3, 7)));
    assert_eq!(first, logits(Some(Dropout::new(3, 7))));
    let others = [
        logits(None),
        logits(Some(Dropout::new(4, 7))),
        logits(Some(Dropout::new(3, 8))),
        logits(Some(Dropout::new(3, 7).shard(0))),
        logits(Some(Dropout::new(3, 7).shard(1))),
    ];
    for (index, other) in others.iter().enumerate() {
        assert_ne!(&first, other, "{index}");
        assert!(!others[index + 1..].contains(other), "{index}");
    }
    assert_eq!(logits(None), logits(None));
}

#[test]
fn the_same_seed_gives_the_same_model_and_another_seed_another() {
    let config = tiny(Activation::Gelu);
    let numbers = |seed| -> Vec<f32> {
        let parameters = initialise(&config, seed).unwrap();
        parameters.iter().flat_map(|(_, tensor)| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
    };
    assert_eq!(numbers(1), numbers(1));
    assert_ne!(numbers(1), numbers(2));
}

#[test]
fn new_weights_have_the_configured_spread() {
    let parameters = initialise(&ModelConfig::small(1_000, Classes::unnamed(2)), 1).unwrap();
    let values: Vec<f32> =
        parameters.get("bert.embeddings.word_embeddings.weight").unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let count = values.len() as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let deviation = (values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count).sqrt();
    assert!(mean.abs() < 2e-4, "{mean}");
    assert!((deviation - 0.02).abs() < 2e-4, "{deviation}");
    let within_one = values.iter().filter(|value| value.abs() < 0.02).count() as f64 / count;
    assert!((within_one - 0.6827).abs() < 5e-3, "{within_one}");
}

#[test]
fn texts_that_the_tables_have_no_rows_for_are_errors() {
    let config = tiny(Activation::Gelu);
    let model = Reference::new(&config, &initialise(&config, 1).unwrap()).unwrap();
    let error = |ids: Vec<u32>| model.forward(&TokenBatch::new(&[ids]), None).unwrap_err().to_string();
    assert!(error(vec![2, 30, 3]).contains("row 30 of a table with 30 rows"));
    assert!(error(vec![2; 17]).contains("a text of 17 tokens is too long for a model with 16 positions"));
}
