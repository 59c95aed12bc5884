//! Contrastive tuning of a pretrained encoder on few labels: texts of one class come near each
//! other, texts of different classes apart (SetFit: Tunstall and others, "Efficient Few-Shot
//! Learning Without Prompts", 2022). Pairs are many where labels are few.

use anyhow::{Result, ensure};
use bert::checkpoint::Checkpoint;
use bert::{Dropout, Parameters, TokenBatch};
use candle_core::{Device, Tensor};

use crate::backprop::{self, Network, Trace};
use crate::gradient::Gradients;
use crate::layers;
use crate::optimizer::AdamW;
use crate::parallel;
use crate::random::{Purpose, Random};
use crate::schedule;

/// Steps, and pairs of each: what SetFit's authors do with few labels.
const STEPS: usize = 150;
const PAIRS: usize = 16;
/// The highest learning rate.
const LEARNING_RATE: f64 = 2e-5;
const WARMUP: usize = 15;
const WEIGHT_DECAY: f64 = 0.01;
const MAX_GRAD_NORM: f64 = 1.0;

/// Two texts, and what the cosine of their vectors should be.
struct Pair {
    one: usize,
    other: usize,
    wanted: f32,
}

/// The encoder's parameters, tuned. Its logits are the numbers of its vector, and what makes them
/// so stays as it is. `ids` are token ids with a class each; the same texts, classes and number of
/// threads give the same parameters.
pub(crate) fn tune(encoder: &Checkpoint, ids: &[Vec<u32>], classes: &[usize], threads: usize) -> Result<Parameters> {
    ensure!(classes.iter().any(|class| *class != classes[0]), "texts of one class alone tell no other apart");
    let layers = encoder.config.distinct_layers();
    let is_head = |name: &str| layers::depth(name, layers) > layers;
    let parameters = encoder.parameters.snapshot()?.trainable_but(is_head)?;
    let network = Network::new(&encoder.config, &parameters)?;
    let mut optimizer = AdamW::new(&parameters, WEIGHT_DECAY, |_| 1.0)?;
    let mut gradients = Gradients::Cpu { sums: backprop::Gradients::new(&parameters), traces: Vec::new() };
    let mut random = Random::of(0, Purpose::Order, 1);
    for step in 0..STEPS {
        let pairs = pairs(classes, &mut random);
        gradients.clear();
        add_pairs(&mut gradients, &network, ids, &pairs, threads, Dropout::new(0, step as u64))?;
        let norm = gradients.norm(threads)?;
        ensure!(norm.is_finite(), "the contrastive tuning has diverged at step {step}");
        let rate = LEARNING_RATE * schedule::linear(step, WARMUP, STEPS);
        optimizer.step(&gradients, rate, (MAX_GRAD_NORM / (norm + 1e-6)).min(1.0), threads)?;
    }
    Ok(parameters.detached())
}

/// As many of one class as of two.
fn pairs(classes: &[usize], random: &mut Random) -> Vec<Pair> {
    let mut pairs = Vec::with_capacity(PAIRS);
    while pairs.len() < PAIRS {
        let wants_alike = pairs.len() % 2 == 0;
        let (one, other) = (random.below(classes.len()), random.below(classes.len()));
        let is_alike = classes[one] == classes[other];
        // Of a class with one text there is no pair: after a while any will do.
        if one != other && (is_alike == wants_alike || random.chance(0.002)) {
            pairs.push(Pair { one, other, wanted: f32::from(u8::from(is_alike)) });
        }
    }
    pairs
}

/// Adds the gradients of the mean squared error of the pairs' cosines. The two texts of a pair are
/// of one shard.
fn add_pairs(
    gradients: &mut Gradients,
    network: &Network,
    ids: &[Vec<u32>],
    pairs: &[Pair],
    threads: usize,
    dropout: Dropout,
) -> Result<()> {
    let Gradients::Cpu { sums, traces } = gradients else { unreachable!("tuning is on the CPU, or it is a bug") };
    let shards: Vec<Vec<&Pair>> =
        (0..threads.min(pairs.len())).map(|shard| pairs.iter().skip(shard).step_by(threads).collect()).collect();
    traces.resize_with(shards.len(), Trace::default);
    let jobs = shards.iter().zip(traces.iter_mut()).enumerate().collect();
    parallel::map(
        threads,
        jobs,
        |_| 1,
        |(number, (shard, trace))| {
            let texts: Vec<&[u32]> = shard.iter().flat_map(|pair| [&*ids[pair.one], &*ids[pair.other]]).collect();
            let vectors = network.forward(&TokenBatch::new(&texts), Some(&dropout.shard(number)), trace)?;
            let (texts, width) = vectors.dims2()?;
            let vectors = vectors.flatten_all()?.to_vec1::<f32>()?;
            let wanted: Vec<f32> = shard.iter().map(|pair| pair.wanted).collect();
            let gradient = of_cosines(&vectors, width, &wanted, 1.0 / pairs.len() as f32);
            trace.set_gradient(&Tensor::from_vec(gradient, (texts, width), &Device::Cpu)?)
        },
    )?;
    network.backward(traces, sums)
}

/// The gradient of `scale` times the sum of `(cosine - wanted)²`, over vectors of which two and two
/// are a pair.
fn of_cosines(vectors: &[f32], width: usize, wanted: &[f32], scale: f32) -> Vec<f32> {
    let mut gradient = vec![0.0; vectors.len()];
    for ((pair, gradient), wanted) in
        vectors.chunks_exact(2 * width).zip(gradient.chunks_exact_mut(2 * width)).zip(wanted)
    {
        let (one, other) = pair.split_at(width);
        let dot = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(one, other)| one * other).sum::<f32>();
        let length = |vector: &[f32]| dot(vector, vector).sqrt().max(1e-12);
        let (one_length, other_length) = (length(one), length(other));
        let cosine = dot(one, other) / (one_length * other_length);
        let slope = 2.0 * scale * (cosine - wanted);
        let (of_one, of_other) = gradient.split_at_mut(width);
        for index in 0..width {
            let (one, other) = (one[index] / one_length, other[index] / other_length);
            of_one[index] = slope * (other - cosine * one) / one_length;
            of_other[index] = slope * (one - cosine * other) / other_length;
        }
    }
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_of_the_cosines_is_that_of_finite_differences() {
        let vectors = [0.3, -1.2, 0.7, 0.5, 0.4, 0.9, -0.6, 0.2, 1.1, 0.8, -0.3, 0.05];
        let wanted = [1.0, 0.0];
        let loss = |vectors: &[f32]| -> f64 {
            let pairs = vectors.chunks_exact(6).zip(wanted);
            pairs
                .map(|(pair, wanted)| {
                    let dot = |one: &[f32], other: &[f32]| {
                        one.iter().zip(other).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum::<f64>()
                    };
                    let (one, other) = pair.split_at(3);
                    let cosine = dot(one, other) / (dot(one, one) * dot(other, other)).sqrt();
                    0.5 * (cosine - f64::from(wanted)).powi(2)
                })
                .sum()
        };
        let gradient = of_cosines(&vectors, 3, &wanted, 0.5);
        for index in 0..vectors.len() {
            let moved = |by: f32| {
                let mut vectors = vectors;
                vectors[index] += by;
                loss(&vectors)
            };
            let expected = (moved(1e-3) - moved(-1e-3)) / 2e-3;
            assert!((f64::from(gradient[index]) - expected).abs() < 1e-4, "{index}: {} {expected}", gradient[index]);
        }
    }

    #[test]
    fn half_of_the_pairs_are_of_one_class() {
        let classes: Vec<usize> = (0..40).map(|text| usize::from(text % 5 == 0)).collect();
        let pairs = pairs(&classes, &mut Random::new(1));
        assert_eq!(pairs.iter().filter(|pair| pair.wanted == 1.0).count(), PAIRS / 2);
        for pair in pairs {
            assert_eq!(pair.wanted == 1.0, classes[pair.one] == classes[pair.other]);
            assert_ne!(pair.one, pair.other);
        }
    }
}
