//! A batch to its loss and gradients, one thread a core.

use anyhow::{Context, Result, bail};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Layout, Storage, Tensor, Var};
use classifier::model::{
    self, BertClassifier, Dropout, Encoder, ModelConfig, Parameters, TokenBatch, Trace, sum_of_squares,
};

use crate::batches::Sample;
use crate::loss::Loss;
use crate::parallel;
use crate::precision::ProductPrecision;
use crate::share::Share;

/// One gradient a variable, sorted by the parameters' names: on the CPU in memory that is used again at each step.
pub(crate) enum Gradients {
    Cpu { sums: model::Gradients, traces: Vec<Trace> },
    Device(Vec<Tensor>),
}

/// A model as its gradients are computed.
pub(crate) struct Model {
    classifier: BertClassifier,
    /// What is below its pooling, by hand: on the CPU in f32.
    encoder: Option<Encoder>,
    parameters: Parameters,
}

/// How a batch is passed through the model.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub loss: &'a Loss,
    /// What the sum of the losses is multiplied with: one over what the samples of the whole step count.
    pub scale: f64,
    /// The masks of this batch.
    pub dropout: Dropout,
    /// Shards, and threads for them.
    pub threads: usize,
    /// The shards that are ours, where others compute the rest.
    pub share: Share,
}

impl Model {
    /// Over parameters that it shares.
    pub(crate) fn new(config: &ModelConfig, parameters: &Parameters, precision: ProductPrecision) -> Result<Self> {
        let classifier = BertClassifier::new(config, parameters)?;
        let is_bf16 = precision.is_bf16(classifier.device());
        let by_hand = classifier.device().is_cpu() && !is_bf16;
        let encoder = by_hand.then(|| Encoder::new(config, parameters)).transpose()?;
        let classifier = if is_bf16 { classifier.in_bf16() } else { classifier };
        Ok(Self { classifier, encoder, parameters: parameters.clone() })
    }
}

impl Gradients {
    /// None yet.
    pub(crate) fn new(model: &Model) -> Self {
        if model.classifier.device().is_cpu() {
            Self::Cpu { sums: model::Gradients::new(&model.parameters), traces: Vec::new() }
        } else {
            Self::Device(Vec::new())
        }
    }

    /// Some that were not computed.
    #[cfg(test)]
    pub(crate) fn on_cpu(gradients: &[Tensor]) -> Self {
        let name = |slot: usize| format!("{slot:03}");
        let named = gradients.iter().enumerate().map(|(slot, tensor)| (name(slot), tensor.clone()));
        let mut sums = model::Gradients::new(&Parameters::new(named.collect()).trainable().unwrap());
        for (slot, tensor) in gradients.iter().enumerate() {
            sums.add(slot, &tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        }
        Self::Cpu { sums, traces: Vec::new() }
    }

    /// Forgets them, before a step.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Cpu { sums, .. } => sums.clear(),
            Self::Device(sums) => sums.clear(),
        }
    }

    /// Adds those of our share of a batch and gives its loss, summed over its samples and times `scale`.
    ///
    /// On the CPU the samples are dealt to `threads` shards a replica, each on a thread of its own, and the shards are summed
    /// in order: the result depends on the number of threads (by rounding) but not on their timing.
    pub(crate) fn add_batch(&mut self, model: &Model, samples: &[Sample], pass: Pass) -> Result<f64> {
        let on_cpu = matches!(self, Self::Cpu { .. });
        let threads = if on_cpu { pass.threads } else { 1 };
        let shards = (threads * pass.share.replicas).min(samples.len());
        let first = threads * pass.share.rank;
        // Neighbours are of similar length, so dealing them out in turn gives shards of similar work. A last batch may have
        // fewer samples than there are shards.
        let own: Vec<Shard> = (first..shards.min(first + threads))
            .map(|number| Shard::new(samples.iter().skip(number).step_by(shards), pass.dropout.shard(number)))
            .collect();
        match self {
            Self::Cpu { sums, traces } => add_on_cpu(sums, traces, model, &own, pass),
            Self::Device(sums) => add_on_device(sums, model, &own, pass),
        }
    }

    /// The length of all gradients as one vector; summed by parameter in the order of their names.
    pub(crate) fn norm(&self, threads: usize) -> Result<f64> {
        let squares = match self {
            Self::Cpu { sums, .. } => {
                let values = sums.values().iter().collect();
                parallel::map(threads, values, |values: &&Vec<f32>| values.len(), |values| Ok(sum_of_squares(values)))?
            }
            Self::Device(sums) => {
                let square = |sum: &Tensor| Ok(f64::from(sum.sqr()?.sum_all()?.to_scalar::<f32>()?));
                sums.iter().map(square).collect::<Result<_>>()?
            }
        };
        Ok(squares.iter().sum::<f64>().sqrt())
    }

    /// All values, one gradient after the other.
    pub(crate) fn to_values(&self) -> Result<Vec<f32>> {
        match self {
            Self::Cpu { sums, .. } => Ok(sums.values().concat()),
            Self::Device(sums) => {
                let values = sums.iter().map(|gradient| gradient.flatten_all()?.to_vec1::<f32>());
                Ok(values.collect::<candle_core::Result<Vec<_>>>()?.concat())
            }
        }
    }

    /// Takes on the values that [`to_values`](Self::to_values) gave elsewhere.
    pub(crate) fn set_values(&mut self, mut values: &[f32]) -> Result<()> {
        let mut next = |count: usize| {
            let (own, rest) = values.split_at(count);
            values = rest;
            own
        };
        match self {
            Self::Cpu { sums, .. } => {
                for sum in sums.values_mut() {
                    let own = next(sum.len());
                    sum.copy_from_slice(own);
                }
            }
            Self::Device(sums) => {
                for sum in sums {
                    *sum = Tensor::from_slice(next(sum.elem_count()), sum.shape(), sum.device())?;
                }
            }
        }
        Ok(())
    }
}

fn add_on_cpu(
    sums: &mut model::Gradients,
    traces: &mut Vec<Trace>,
    model: &Model,
    shards: &[Shard],
    pass: Pass,
) -> Result<f64> {
    traces.resize_with(shards.len(), Trace::default);
    let jobs = shards.iter().zip(traces.iter_mut()).collect();
    let results = parallel::map(pass.threads, jobs, |_| 1, |(shard, trace)| shard.backward(model, trace, pass))?;
    if let Some(encoder) = &model.encoder {
        encoder.backward(traces, sums)?;
    }
    for (slot, (_, parameter)) in model.parameters.variables().enumerate() {
        for gradient in results.iter().filter_map(|(_, store)| store.get(parameter)) {
            read(&gradient.contiguous()?, |values| sums.add(slot, values))?;
        }
    }
    if shards.is_empty() {
        sums.fill();
    }
    if let Some((name, _)) = sums.missing().and_then(|slot| model.parameters.variables().nth(slot)) {
        bail!("no gradient reached {name}: that is a bug");
    }
    Ok(results.iter().map(|(loss, _)| loss).sum())
}

fn add_on_device(sums: &mut Vec<Tensor>, model: &Model, shards: &[Shard], pass: Pass) -> Result<f64> {
    let variables = || model.parameters.variables();
    let mut sum = 0.0;
    for shard in shards {
        let (loss, mut store) = shard.backward(model, &mut Trace::default(), pass)?;
        let gradients = variables().map(|(name, parameter)| {
            let gradient = store.remove(parameter);
            gradient.with_context(|| format!("no gradient reached {name}: that is a bug"))
        });
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        *sums = if sums.is_empty() {
            gradients
        } else {
            sums.iter().zip(gradients).map(|(sum, gradient)| Ok((sum + gradient)?)).collect::<Result<_>>()?
        };
        sum += loss;
    }
    if sums.is_empty() {
        *sums = variables().map(|(_, parameter)| Ok(parameter.zeros_like()?.detach())).collect::<Result<_>>()?;
    }
    Ok(sum)
}

/// The part of a batch that one thread computes.
struct Shard {
    batch: TokenBatch,
    labels: Vec<u32>,
    dropout: Dropout,
}

impl Shard {
    fn new<'a>(samples: impl Iterator<Item = &'a Sample> + Clone, dropout: Dropout) -> Self {
        let texts: Vec<&[u32]> = samples.clone().map(|sample| sample.ids.as_slice()).collect();
        Self { batch: TokenBatch::new(&texts), labels: samples.map(|sample| sample.label).collect(), dropout }
    }

    /// The loss, and the gradients of all variables that candle has followed: where the encoder is by hand, those above it; it
    /// finds in the trace what it needs to go on.
    fn backward(&self, model: &Model, trace: &mut Trace, pass: Pass) -> Result<(f64, GradStore)> {
        let dropout = Some(&self.dropout);
        let backward = |logits: Tensor| {
            let loss = (pass.loss.sum(&logits, &self.labels)? * pass.scale)?;
            anyhow::Ok((f64::from(loss.to_scalar::<f32>()?), loss.backward()?))
        };
        let Some(encoder) = &model.encoder else {
            return backward(model.classifier.forward(&self.batch, dropout)?);
        };
        let hidden = Var::from_tensor(&encoder.forward(&self.batch, dropout, trace)?)?;
        let (loss, store) = backward(model.classifier.classify(&hidden, &self.batch, dropout)?)?;
        trace.set_gradient(store.get(&hidden).context("no gradient reached the encoder: a bug")?)?;
        Ok((loss, store))
    }
}

/// The values of a contiguous f32 tensor on the CPU, without copying them.
pub(crate) fn read<R>(tensor: &Tensor, look: impl FnOnce(&[f32]) -> R) -> candle_core::Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(look(slice(storage, layout)?)),
        _ => candle_core::bail!("not on the CPU"),
    }
}

pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a gradient or parameter must be contiguous")
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

pub(crate) fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> candle_core::Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("a gradient or parameter must be f32 and contiguous"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn the_norm_is_that_of_all_gradients_together() {
        let gradients = [tensor(&[3.0; 16]), tensor(&[0.0, 5.0, 0.0])];
        assert_eq!(Gradients::on_cpu(&gradients).norm(2).unwrap(), 13.0);
        assert_eq!(Gradients::Device(gradients.to_vec()).norm(2).unwrap(), 13.0);
    }

    #[test]
    fn gradients_become_values_and_values_gradients() {
        let gradients = [tensor(&[3.0, 4.0]), tensor(&[5.0])];
        for mut gradients in [Gradients::on_cpu(&gradients), Gradients::Device(gradients.to_vec())] {
            assert_eq!(gradients.to_values().unwrap(), [3.0, 4.0, 5.0]);
            gradients.set_values(&[1.0, 2.0, 6.0]).unwrap();
            assert_eq!(gradients.to_values().unwrap(), [1.0, 2.0, 6.0]);
        }
    }
}
