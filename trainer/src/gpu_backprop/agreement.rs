//! Whether the kernels compute what they should on the GPU at hand: a wrong gradient would only show
//! as a poor model.

use std::slice;

use anyhow::{Result, ensure};
use bert::{Dropout, ModelConfig, Parameters, TokenBatch};
use candle_core::{Device, Tensor};
use gpu::Chip;

use super::Network;
use crate::backprop::{self, Gradients, Trace};

/// How far apart two gradients in bf16 may be, as a share of the length of the right one.
const APART: f64 = 0.25;

/// The same as a share of the length of all gradients, for small ones.
const SMALL: f64 = 0.002;

/// The same for what should be nothing, of which rounding stays: what is the same for every key does
/// not change a softmax.
const NOTHING: f64 = 0.02;

const ADVICE: &str = "--precision f32 trains without them; please report it";

/// Compares logits and gradients of a few made-up texts with those of the passes on the CPU.
///
/// # Errors
/// They differ; failures of the device.
pub(crate) fn check<C: Chip>(network: &mut Network<C>, config: &ModelConfig, parameters: &Parameters) -> Result<()> {
    let texts: Vec<Vec<u32>> = [1, 17, 40, 5]
        .iter()
        .map(|length| (0..(*length).min(config.longest_text())).map(|token| token_of(token, config)).collect())
        .collect();
    let (batch, dropout) = (TokenBatch::new(&texts), Dropout::new(1, 1));
    let slopes: Vec<f32> = (0..batch.texts() * config.classes.len()).map(|at| (at % 3) as f32 - 0.8).collect();
    let own = network.forward(&batch, Some(&dropout))?;
    network.backward(slopes.clone(), false)?;

    let here = parameters.to_device(&Device::Cpu)?.trainable_but(|name| parameters.slot(name).is_none())?;
    let by_hand = backprop::Network::new(config, &here)?;
    let (mut trace, mut gradients) = (Trace::default(), Gradients::new(&here));
    let logits = by_hand.forward(&batch, Some(&dropout), &mut trace)?;
    trace.set_gradient(&Tensor::from_vec(slopes, logits.shape(), &Device::Cpu)?)?;
    by_hand.backward(slice::from_mut(&mut trace), &mut gradients)?;

    let expected = logits.flatten_all()?.to_vec1::<f32>()?;
    let (apart, all) = (distance(&own, &expected), length(&expected));
    ensure!(
        apart <= APART * all + 0.05,
        "on this GPU our kernels compute logits that are {apart:.3} apart from the CPU's, which are {all:.3} long: {ADVICE}"
    );
    let mut found = Vec::new();
    for (((name, _), memory), expected) in parameters.variables().zip(&network.memories).zip(gradients.values()) {
        let own = network.chip.fetch(memory, expected.len())?;
        found.push((name, distance(&own, expected), length(expected)));
    }
    let all = found.iter().map(|(.., expected)| expected.powi(2)).sum::<f64>().sqrt();
    for (name, apart, expected) in found {
        let floor = if name.ends_with("key.bias") { NOTHING } else { SMALL };
        ensure!(
            apart <= APART * expected + floor * all,
            "on this GPU our kernels compute a gradient of {name} that is {apart:.3} apart from the CPU's, which is {expected:.3} long: {ADVICE}"
        );
    }
    Ok(())
}

/// A token of the vocabulary.
fn token_of(place: usize, config: &ModelConfig) -> u32 {
    ((place * 31 + 5) % config.vocab_size) as u32
}

fn length(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}

fn distance(one: &[f32], other: &[f32]) -> f64 {
    length(&one.iter().zip(other).map(|(one, other)| one - other).collect::<Vec<_>>())
}
