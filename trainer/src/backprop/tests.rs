//! Logits and gradients by hand against those of the reference.

use bert::{
    Activation, Classes, Dropout, Family, ModelConfig, Parameters, Pooling, Reference, Sharing, TokenBatch, initialise,
};
use candle_core::{D, Device, Tensor, Var};

use super::{Gradients, Network, Trace};

const POOLINGS: [Pooling; 4] = [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::Attention];

fn tiny(pooling: Pooling) -> ModelConfig {
    ModelConfig {
        hidden_size: 24,
        num_hidden_layers: 3,
        num_attention_heads: 3,
        intermediate_size: 40,
        max_position_embeddings: 40,
        initializer_range: 0.2,
        pooling,
        ..ModelConfig::small(30, Classes::unnamed(3))
    }
}

/// Texts and classes of two shards: of one token, of less and more than a vector register, of more
/// than two.
fn shards() -> [(TokenBatch, Vec<u32>); 2] {
    let text = |length: usize| (0..length).map(|token| (token * 7 % 29 + 1) as u32).collect::<Vec<u32>>();
    [
        (TokenBatch::new(&[text(3), text(12), text(1), text(37)]), vec![0, 1, 2, 1]),
        (TokenBatch::new(&[text(6), text(17)]), vec![1, 0]),
    ]
}

fn loss(logits: &Tensor, classes: &[u32]) -> candle_core::Result<Tensor> {
    let classes = Tensor::new(classes, logits.device())?.unsqueeze(1)?;
    let powers = logits.exp()?.sum_keepdim(D::Minus1)?.log()?;
    logits.gather(&classes, 1)?.sub(&powers)?.sum_all()?.neg()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// What the model says, by what: the logits of the shards, and the sum of their gradients by
/// parameter.
type Found = Vec<(String, Vec<f32>)>;

/// By candle over the reference.
fn by_candle(config: &ModelConfig, parameters: &Parameters, dropout: Option<Dropout>) -> Found {
    let model = Reference::new(config, parameters).unwrap();
    let (mut found, mut losses) = (Found::new(), Vec::new());
    for (number, (batch, classes)) in shards().iter().enumerate() {
        let dropout = dropout.map(|dropout| dropout.shard(number));
        let logits = model.forward(batch, dropout.as_ref()).unwrap();
        found.push((format!("logits of shard {number}"), values(&logits)));
        losses.push(loss(&logits, classes).unwrap());
    }
    let store = losses.into_iter().reduce(|a, b| (a + b).unwrap()).unwrap().backward().unwrap();
    let gradient = |(name, parameter): (&str, &Tensor)| (name.to_owned(), values(store.get(parameter).unwrap()));
    found.extend(parameters.variables().map(gradient));
    found
}

/// By hand; `times` over on the same memory, of which the last counts.
fn by_hand(
    config: &ModelConfig,
    parameters: &Parameters,
    dropout: Option<Dropout>,
    times: usize,
    gradients: &mut Gradients,
) -> Found {
    let network = Network::new(config, parameters).unwrap();
    let mut traces = [Trace::default(), Trace::default()];
    let mut found = Found::new();
    for time in 1..=times {
        gradients.clear();
        found.clear();
        // Other texts first, so that what they leave behind would show.
        let mut shards = shards();
        if time < times {
            shards.reverse();
        }
        for (number, ((batch, classes), trace)) in shards.iter().zip(&mut traces).enumerate() {
            let dropout = dropout.map(|dropout| dropout.shard(number));
            let logits = Var::from_tensor(&network.forward(batch, dropout.as_ref(), trace).unwrap()).unwrap();
            found.push((format!("logits of shard {number}"), values(&logits)));
            let store = loss(&logits, classes).unwrap().backward().unwrap();
            trace.set_gradient(store.get(&logits).unwrap()).unwrap();
        }
        network.backward(&mut traces, gradients).unwrap();
        assert_eq!(gradients.missing(), None);
    }
    let names = parameters.variables().map(|(name, _)| name.to_owned());
    found.extend(names.zip(gradients.values().iter().cloned()));
    found
}

fn assert_same(found: &Found, expected: &Found) {
    assert_eq!(found.len(), expected.len());
    for ((name, found), (other, expected)) in found.iter().zip(expected) {
        assert_eq!((name, found.len()), (other, expected.len()));
        let scale = expected.iter().fold(1e-2_f32, |scale, value| scale.max(value.abs()));
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 5e-5 * scale, "{name}: {found}, expected {expected}");
        }
    }
}

fn check(config: &ModelConfig, parameters: &Parameters) {
    for dropout in [None, Some(Dropout::new(9, 4))] {
        let expected = by_candle(config, parameters, dropout);
        for times in [1, 3] {
            let mut gradients = Gradients::new(parameters);
            assert_same(&by_hand(config, parameters, dropout, times, &mut gradients), &expected);
        }
    }
}

#[test]
fn logits_and_gradients_are_those_of_the_reference_with_every_pooling_activation_and_size() {
    let mut configs: Vec<ModelConfig> = POOLINGS.map(tiny).into();
    for hidden_act in [Activation::GeluNew, Activation::Relu] {
        configs.push(ModelConfig { hidden_act, ..tiny(Pooling::Cls) });
    }
    for (hidden_size, num_attention_heads, intermediate_size) in [(8, 1, 19), (50, 5, 45), (32, 4, 128)] {
        for pooling in [Pooling::Cls, Pooling::Mean] {
            configs.push(ModelConfig { hidden_size, num_attention_heads, intermediate_size, ..tiny(pooling) });
        }
    }
    for config in configs {
        check(&config, &initialise(&config, 5).unwrap().trainable().unwrap());
    }
}

/// BERT's relatives, as far as their networks are not its own.
fn relatives(pooling: Pooling) -> Vec<(&'static str, ModelConfig)> {
    let of = |family: Family| ModelConfig {
        family,
        head_activation: match family {
            Family::Electra => Activation::Gelu,
            Family::DistilBert => Activation::Relu,
            _ => Activation::Tanh,
        },
        ..tiny(pooling)
    };
    vec![
        (
            "roberta",
            ModelConfig { padding: Some(8), type_vocab_size: 1, max_position_embeddings: 50, ..of(Family::Roberta) },
        ),
        ("electra", ModelConfig { embedding_size: Some(10), ..of(Family::Electra) }),
        ("ernie", ModelConfig { task_type_vocab_size: 3, ..of(Family::Ernie) }),
        ("distilbert", ModelConfig { type_vocab_size: 0, ..of(Family::DistilBert) }),
        (
            "albert",
            ModelConfig {
                embedding_size: Some(10),
                num_hidden_layers: 8,
                sharing: Some(Sharing { groups: 2, inner: 2 }),
                initializer_range: 0.1,
                ..of(Family::Albert)
            },
        ),
        ("megatron-bert", of(Family::MegatronBert)),
    ]
}

#[test]
fn logits_and_gradients_of_berts_relatives_are_those_of_the_reference() {
    for pooling in POOLINGS {
        for (name, config) in relatives(pooling) {
            println!("{name}, {pooling:?}");
            check(&config, &initialise(&config, 5).unwrap().trainable().unwrap());
        }
    }
}

#[test]
fn frozen_layers_of_berts_relatives_get_no_gradient_and_those_above_the_same() {
    for (name, config) in relatives(Pooling::Cls) {
        println!("{name}");
        let is_frozen = |name: &str| {
            let is_below = name.starts_with("bert.encoder.layer.0.");
            name.starts_with("bert.embeddings.") || config.sharing.is_none() && is_below
        };
        check(&config, &initialise(&config, 5).unwrap().trainable_but(is_frozen).unwrap());
    }
}

#[test]
fn frozen_layers_get_no_gradient_and_those_above_the_same() {
    let config = tiny(Pooling::Cls);
    let start = initialise(&config, 5).unwrap();
    for frozen in 0..=3 {
        let is_frozen = |name: &str| {
            let layers = (0..frozen).map(|layer| format!("bert.encoder.layer.{layer}."));
            name.starts_with("bert.embeddings.") || layers.into_iter().any(|layer| name.starts_with(&layer))
        };
        let parameters = start.trainable_but(is_frozen).unwrap();
        assert!(parameters.variables().count() < start.iter().count());
        check(&config, &parameters);
    }
}

#[test]
fn batches_add_up_until_the_gradients_are_cleared() {
    for pooling in POOLINGS {
        let config = tiny(pooling);
        let parameters = initialise(&config, 5).unwrap().trainable().unwrap();
        let network = Network::new(&config, &parameters).unwrap();
        let add = |shard: usize, gradients: &mut Gradients| {
            let mut traces = [Trace::default()];
            let logits = network.forward(&shards()[shard].0, None, &mut traces[0]).unwrap();
            traces[0].set_gradient(&logits.ones_like().unwrap()).unwrap();
            network.backward(&mut traces, gradients).unwrap();
            gradients.values().concat()
        };
        let [mut first, mut second, mut both] = [(); 3].map(|()| Gradients::new(&parameters));
        let (first, second) = (add(0, &mut first), add(1, &mut second));
        add(0, &mut both);
        for ((sum, first), second) in add(1, &mut both).iter().zip(&first).zip(&second) {
            assert!((sum - first - second).abs() < 1e-4 * (1.0 + sum.abs()), "{first} + {second} is {sum}");
        }
    }
}

#[test]
fn texts_that_the_tables_have_no_rows_for_are_errors() {
    let config = tiny(Pooling::Cls);
    let network = Network::new(&config, &initialise(&config, 5).unwrap()).unwrap();
    let error =
        |ids: Vec<u32>| network.forward(&TokenBatch::new(&[ids]), None, &mut Trace::default()).unwrap_err().to_string();
    assert!(error(vec![2, 30, 3]).contains("row 30 of a table with 30 rows"));
    assert!(error(vec![2; 41]).contains("a text of 41 tokens is too long for a model with 40 positions"));
}

#[test]
fn a_nan_in_one_text_stays_in_that_text() {
    for pooling in POOLINGS {
        let config = tiny(pooling);
        let parameters = initialise(&config, 5).unwrap();
        let name = "bert.embeddings.word_embeddings.weight";
        let mut words = parameters.get(name).unwrap().to_vec2::<f32>().unwrap();
        words[29][3] = f32::NAN;
        let words = Tensor::new(words, &Device::Cpu).unwrap();
        let changed = parameters
            .iter()
            .map(|(other, tensor)| (other.to_owned(), if other == name { words.clone() } else { tensor.clone() }));
        let network = Network::new(&config, &Parameters::new(changed.collect())).unwrap();
        let batch = TokenBatch::new(&[vec![7; 5], vec![8, 9, 29], vec![10; 20]]);
        let logits = network.forward(&batch, None, &mut Trace::default()).unwrap().to_vec2::<f32>().unwrap();
        let poisoned = logits.iter().map(|row| row.iter().any(|logit| logit.is_nan())).collect::<Vec<_>>();
        assert_eq!(poisoned, [false, true, false], "{pooling:?}");
    }
}
