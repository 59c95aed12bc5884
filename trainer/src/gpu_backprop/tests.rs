//! Gradients on the emulator against those of the hand-written passes on the CPU.

use bert::{Activation, Classes, Dropout, ModelConfig, Parameters, TokenBatch, initialise};
use candle_core::{D, Device, Tensor, Var};
use gpu::{Chip, Emulator};

use super::{Network, agreement, kernels, suits};
use crate::backprop;

fn config(hidden_size: usize) -> ModelConfig {
    ModelConfig {
        hidden_size,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 104,
        max_position_embeddings: 70,
        initializer_range: 0.12,
        layer_norm_eps: 1e-5,
        ..ModelConfig::small(50, Classes::unnamed(3))
    }
}

/// One token, less and more than a warp's queries and a block's, a tile of keys and one more,
/// several tiles.
fn batch() -> (TokenBatch, Vec<u32>) {
    let text = |(number, length): (usize, &usize)| {
        (0..*length).map(|token| ((token * 31 + number * 17) % 50) as u32).collect::<Vec<u32>>()
    };
    let texts = [1, 5, 17, 32, 70, 33, 2].iter().enumerate().map(text).collect::<Vec<_>>();
    (TokenBatch::new(&texts), vec![0, 1, 2, 0, 2, 1, 1])
}

/// The loss's gradient of the logits.
fn gradient_of(logits: &Tensor, classes: &[u32]) -> Vec<f32> {
    let logits = Var::from_tensor(logits).unwrap();
    let classes = Tensor::new(classes, &Device::Cpu).unwrap().unsqueeze(1).unwrap();
    let powers = logits.exp().unwrap().sum_keepdim(D::Minus1).unwrap().log().unwrap();
    let loss = logits.gather(&classes, 1).unwrap().sub(&powers).unwrap().sum_all().unwrap().neg().unwrap();
    loss.backward().unwrap().get(&logits).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Logits, then each gradient by name.
type Found = Vec<(String, Vec<f32>)>;

fn by_hand(config: &ModelConfig, parameters: &Parameters, dropout: Option<&Dropout>) -> Found {
    let (batch, classes) = batch();
    let network = backprop::Network::new(config, parameters).unwrap();
    let (mut trace, mut gradients) = (backprop::Trace::default(), backprop::Gradients::new(parameters));
    let logits = network.forward(&batch, dropout, &mut trace).unwrap();
    let gradient = Tensor::from_vec(gradient_of(&logits, &classes), logits.shape(), &Device::Cpu).unwrap();
    trace.set_gradient(&gradient).unwrap();
    network.backward(std::slice::from_mut(&mut trace), &mut gradients).unwrap();
    let mut found = vec![("logits".to_owned(), logits.flatten_all().unwrap().to_vec1().unwrap())];
    found.extend(parameters.variables().map(|(name, _)| name.to_owned()).zip(gradients.values().iter().cloned()));
    found
}

fn by_launches<C: Chip>(
    network: &mut Network<C>,
    parameters: &Parameters,
    dropout: Option<&Dropout>,
    add: bool,
) -> candle_core::Result<Found> {
    let (batch, classes) = batch();
    let logits = network.forward(&batch, dropout)?;
    let tensor = Tensor::from_slice(&logits, (batch.texts(), 3), &Device::Cpu)?;
    network.backward(gradient_of(&tensor, &classes), add)?;
    let gradients = parameters.variables().zip(&network.memories);
    let fetched = gradients
        .map(|((name, parameter), memory)| Ok((name.to_owned(), network.chip.fetch(memory, parameter.elem_count())?)));
    std::iter::once(Ok(("logits".to_owned(), logits))).chain(fetched).collect()
}

fn assert_close(found: &Found, expected: &Found, times: f32) {
    let others = differences(found, expected, times);
    assert!(others.is_empty(), "{others:?}");
}

/// What is not as close as bf16 is: the length of the difference beside the length of what is
/// expected.
fn differences(found: &Found, expected: &Found, times: f32) -> Vec<String> {
    assert_eq!(found.len(), expected.len());
    let mut others = Vec::new();
    let length = |numbers: &[f32]| numbers.iter().map(|number| number * number).sum::<f32>().sqrt();
    for ((name, found), (other, expected)) in found.iter().zip(expected) {
        assert_eq!((name, found.len()), (other, expected.len()));
        let times = if name == "logits" { 1.0 } else { times };
        let expected: Vec<f32> = expected.iter().map(|number| times * number).collect();
        let apart: Vec<f32> = found.iter().zip(&expected).map(|(found, expected)| found - expected).collect();
        let (apart, all) = (length(&apart), length(&expected));
        // What is the same for every key does not change a softmax: its gradient is rounding alone.
        let is_nothing = name.ends_with("key.bias");
        if !(apart <= 0.03 * all || is_nothing && apart < 0.02) {
            others.push(format!("{name}: {apart} apart of {all}"));
        }
    }
    others
}

fn check<C: Chip>(device: &Device, mut chip: impl FnMut(&ModelConfig) -> Option<C>) {
    let cases = [
        config(48),
        ModelConfig {
            hidden_act: Activation::GeluNew,
            head_activation: Activation::Gelu,
            num_hidden_layers: 1,
            ..config(48)
        },
        ModelConfig { hidden_act: Activation::Relu, type_vocab_size: 0, initializer_range: 0.05, ..config(264) },
        ModelConfig { task_type_vocab_size: 3, padding: Some(8), max_position_embeddings: 79, ..config(48) },
    ];
    for config in cases {
        assert!(suits(&config));
        let Some(chip) = chip(&config) else { return };
        let parameters = initialise(&config, 5).unwrap().trainable().unwrap();
        let there = parameters.to_device(device).unwrap().trainable().unwrap();
        let mut network = Network::new(chip, &config, &there).unwrap();
        for dropout in [None, Some(Dropout::new(9, 4))] {
            let expected = by_hand(&config, &parameters, dropout.as_ref());
            let mut found = |add| by_launches(&mut network, &parameters, dropout.as_ref(), add).unwrap();
            let first = found(false);
            assert_close(&first, &expected, 1.0);
            // The same bits again, and with `add` twice as much.
            assert_eq!(found(false), first);
            assert_close(&found(true), &expected, 2.0);
        }
    }
}

#[test]
fn gradients_are_those_of_the_cpu_as_far_as_bf16_goes() {
    let mut is_reversed = false;
    check(&Device::Cpu, |config| {
        is_reversed = !is_reversed;
        let mut emulator = Emulator::new(&kernels(config))?;
        emulator.is_reversed = is_reversed;
        Some(emulator)
    });
}

#[test]
fn gradients_that_are_not_candles_are_noticed_before_the_first_step() {
    let config = config(48);
    let Some(emulator) = Emulator::new(&kernels(&config)) else { return };
    let trainable = |seed: u64| initialise(&config, seed).unwrap().trainable().unwrap();
    let parameters = trainable(5);
    let mut network = Network::new(emulator, &config, &parameters).unwrap();
    agreement::check(&mut network, &config, &parameters).unwrap();
    let error = agreement::check(&mut network, &config, &trainable(6)).unwrap_err().to_string();
    assert!(error.contains("our kernels compute") && error.contains("--precision f32"), "{error}");
}

#[test]
fn kernels_that_are_broken_give_other_gradients_or_none() {
    let config = config(48);
    let parameters = initialise(&config, 5).unwrap().trainable().unwrap();
    let dropout = Dropout::new(9, 4);
    let expected = by_hand(&config, &parameters, Some(&dropout));
    for (piece, by) in [
        // A wrong stride.
        (
            "query_gradient + own_row * query_stride + column, query_stride, owned",
            "query_gradient + own_row * query_stride + column, WIDTH, owned",
        ),
        // A missing wait for the rest of the block.
        ("    __syncthreads();\n    if (group != 0", "    if (group != 0"),
        // Two arguments in each other's place.
        ("const float* logarithms, const float* means,\n", "const float* means, const float* logarithms,\n"),
        // Another number in the mask.
        ("(head * length + query) * length + key", "(head * length + key) * length + query"),
        // A term of a formula.
        ("(dropped_slope - mean[q]) * scale", "dropped_slope * scale"),
        // The last of the tokens that have a row.
        ("number < end; number++", "number < end - 1; number++"),
    ] {
        let Some(emulator) = Emulator::new(&kernels(&config).broken(piece, by)) else { return };
        let mut network = Network::new(emulator, &config, &parameters).unwrap();
        let Ok(found) = by_launches(&mut network, &parameters, Some(&dropout), false) else { continue };
        assert!(!differences(&found, &expected, 1.0).is_empty(), "{piece}: nobody notices");
    }
}

#[cfg(feature = "cuda")]
#[test]
#[ignore = "needs a GPU"]
fn on_a_gpu_gradients_are_those_of_the_cpu_as_far_as_bf16_goes() {
    let device = Device::new_cuda(0).unwrap();
    check(&device, |config| Some(gpu::Gpu::new(device.as_cuda_device().unwrap(), &kernels(config)).unwrap()));
}

#[test]
fn the_kernels_compile_for_every_gpu_without_a_spill() {
    let sizes = [(256, 64), (384, 32), (512, 64), (768, 64), (1024, 64), (264, 88), (384, 128)];
    let of = |(width, head_size)| kernels(&ModelConfig { num_attention_heads: width / head_size, ..config(width) });
    gpu::assert_compile(&sizes.map(of));
    gpu::assert_compile(&[super::Optimizer::<Emulator>::kernels()]);
}
