//! The encoder's gradients by hand against those of candle's graph.

use candle_core::{D, Result, Tensor, Var};
use classifier::Labels;
use classifier::model::{
    Activation, BertClassifier, Dropout, Encoder, Gradients, ModelConfig, Parameters, Pooling, TokenBatch, Trace,
    initialise,
};

fn tiny(pooling: Pooling) -> ModelConfig {
    ModelConfig {
        hidden_size: 24,
        num_hidden_layers: 3,
        num_attention_heads: 3,
        intermediate_size: 40,
        max_position_embeddings: 16,
        initializer_range: 0.2,
        pooling,
        ..ModelConfig::small(30, Labels::unnamed(3))
    }
}

/// Texts and classes of two shards.
fn shards() -> [(TokenBatch, Vec<u32>); 2] {
    let long = vec![2, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 3];
    [
        (TokenBatch::new(&[vec![2, 7, 3], long, vec![2, 3]]), vec![0, 1, 2]),
        (TokenBatch::new(&[vec![2, 21, 22, 23, 29, 3], vec![2, 7, 7, 3]]), vec![1, 0]),
    ]
}

fn loss(logits: &Tensor, classes: &[u32]) -> Result<Tensor> {
    let classes = Tensor::new(classes, logits.device())?.unsqueeze(1)?;
    let powers = logits.exp()?.sum_keepdim(D::Minus1)?.log()?;
    logits.gather(&classes, 1)?.sub(&powers)?.sum_all()?.neg()
}

/// The sum of the shards' gradients by candle's graph over the whole model, by name; 0 for what is frozen.
fn by_graph(config: &ModelConfig, parameters: &Parameters, dropout: Dropout) -> Vec<(String, Vec<f32>)> {
    let model = BertClassifier::new(config, parameters).unwrap();
    let shards = shards();
    let sum = shards.iter().enumerate().map(|(number, (batch, classes))| {
        loss(&model.forward(batch, Some(&dropout.shard(number))).unwrap(), classes).unwrap()
    });
    let store = sum.reduce(|a, b| (a + b).unwrap()).unwrap().backward().unwrap();
    let values = |(name, parameter): (&str, &Tensor)| {
        (name.to_owned(), store.get(parameter).unwrap().flatten_all().unwrap().to_vec1().unwrap())
    };
    parameters.variables().map(values).collect()
}

/// The same by hand; `times` over on the same memory, of which the last counts.
fn by_hand(
    config: &ModelConfig,
    parameters: &Parameters,
    dropout: Dropout,
    times: usize,
    gradients: &mut Gradients,
) -> Vec<(String, Vec<f32>)> {
    let model = BertClassifier::new(config, parameters).unwrap();
    let encoder = Encoder::new(config, parameters).unwrap();
    let mut traces = [Trace::default(), Trace::default()];
    for time in 1..=times {
        gradients.clear();
        // Other texts first, so that what they leave behind would show.
        let mut shards = shards();
        if time < times {
            shards.reverse();
        }
        let mut heads = Vec::new();
        for (number, ((batch, classes), trace)) in shards.iter().zip(&mut traces).enumerate() {
            let dropout = dropout.shard(number);
            let hidden = Var::from_tensor(&encoder.forward(batch, Some(&dropout), trace).unwrap()).unwrap();
            let logits = model.classify(&hidden, batch, Some(&dropout)).unwrap();
            let store = loss(&logits, classes).unwrap().backward().unwrap();
            trace.set_gradient(store.get(&hidden).unwrap()).unwrap();
            heads.push(store);
        }
        encoder.backward(&mut traces, gradients).unwrap();
        for (slot, (_, parameter)) in parameters.variables().enumerate() {
            for gradient in heads.iter().filter_map(|store| store.get(parameter)) {
                gradients.add(slot, &gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            }
        }
        assert_eq!(gradients.missing(), None);
    }
    let names = parameters.variables().map(|(name, _)| name.to_owned());
    names.zip(gradients.values().iter().cloned()).collect()
}

fn assert_same(found: &[(String, Vec<f32>)], expected: &[(String, Vec<f32>)]) {
    assert_eq!(found.len(), expected.len());
    for ((name, found), (other, expected)) in found.iter().zip(expected) {
        assert_eq!(name, other);
        let scale = expected.iter().fold(1e-2_f32, |scale, value| scale.max(value.abs()));
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 2e-5 * scale, "{name}: {found}, expected {expected}");
        }
    }
}

fn check(config: &ModelConfig, parameters: &Parameters) {
    let expected = by_graph(config, parameters, Dropout::new(9, 4));
    for times in [1, 3] {
        let mut gradients = Gradients::new(parameters);
        assert_same(&by_hand(config, parameters, Dropout::new(9, 4), times, &mut gradients), &expected);
    }
}

#[test]
fn gradients_by_hand_are_those_of_the_graph_with_every_pooling_and_activation() {
    for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Max, Pooling::Attention] {
        let config = tiny(pooling);
        check(&config, &initialise(&config, 5).unwrap().trainable().unwrap());
    }
    for hidden_act in [Activation::GeluNew, Activation::Relu] {
        let config = ModelConfig { hidden_act, ..tiny(Pooling::Cls) };
        check(&config, &initialise(&config, 5).unwrap().trainable().unwrap());
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
    let config = tiny(Pooling::Mean);
    let parameters = initialise(&config, 5).unwrap().trainable().unwrap();
    let mut gradients = Gradients::new(&parameters);
    let once = by_hand(&config, &parameters, Dropout::new(9, 4), 1, &mut gradients);
    let encoder = Encoder::new(&config, &parameters).unwrap();
    // The head stays out of it: the gradient of the result is all ones.
    let twice = |gradients: &mut Gradients| {
        let mut traces = [Trace::default()];
        let hidden = encoder.forward(&shards()[0].0, None, &mut traces[0]).unwrap();
        traces[0].set_gradient(&hidden.ones_like().unwrap()).unwrap();
        encoder.backward(&mut traces, gradients).unwrap();
        gradients.values().to_vec()
    };
    let sum = twice(&mut gradients);
    let mut alone = Gradients::new(&parameters);
    let own = twice(&mut alone);
    for (slot, (name, first)) in once.iter().enumerate() {
        if alone.values()[slot].iter().any(|value| *value != 0.0) {
            for ((sum, first), own) in sum[slot].iter().zip(first).zip(&own[slot]) {
                assert!((sum - first - own).abs() < 1e-4 * (1.0 + sum.abs()), "{name}: {first} + {own} is {sum}");
            }
        }
    }
}

#[test]
fn texts_that_the_tables_have_no_rows_for_are_errors() {
    let config = tiny(Pooling::Cls);
    let encoder = Encoder::new(&config, &initialise(&config, 5).unwrap()).unwrap();
    let error =
        |ids: Vec<u32>| encoder.forward(&TokenBatch::new(&[ids]), None, &mut Trace::default()).unwrap_err().to_string();
    assert!(error(vec![2, 30, 3]).contains("row 30 of a table with 30 rows"));
    assert!(error(vec![2; 17]).contains("a text of 17 tokens is too long for a model with 16 positions"));
}
