//! A batch to its loss and gradients, one thread a core.

use anyhow::{Context, Result};
use candle_core::{CpuStorage, InplaceOp2, Layout, Storage, Tensor, bail};
use classifier::model::{BertClassifier, Dropout, Parameters, TokenBatch};

use crate::batches::Sample;
use crate::loss::Loss;
use crate::parallel;
use crate::replicas::Share;

/// One gradient a variable, sorted by the parameters' names.
pub(crate) struct Gradients(Vec<Tensor>);

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

/// The loss of our share of a batch, summed over its samples and times `scale`, and its gradients.
///
/// On the CPU the samples are dealt to `threads` shards a replica, each on a thread of its own, and the shards are summed in
/// order: the result depends on the number of threads (by rounding) but not on their timing.
pub(crate) fn of_batch(
    model: &BertClassifier,
    parameters: &Parameters,
    samples: &[Sample],
    pass: Pass,
) -> Result<(f64, Gradients)> {
    let threads = if model.device().is_cpu() { pass.threads } else { 1 };
    let shards = (threads * pass.share.replicas).min(samples.len());
    // Neighbours are of similar length, so dealing them out in turn gives shards of similar work.
    let shard = |number: usize| samples.iter().skip(number).step_by(shards).collect::<Vec<_>>();
    let first = threads * pass.share.rank;
    let results = parallel::map(
        threads,
        (first..shards.min(first + threads)).collect(),
        |_| 1,
        |number| of_shard(model, parameters, &shard(number), Pass { dropout: pass.dropout.shard(number), ..pass }),
    )?;
    let mut results = results.into_iter();
    let Some((mut loss, mut gradients)) = results.next() else {
        // A last batch may have fewer samples than there are shards.
        return Ok((0.0, Gradients::zeros(parameters)?));
    };
    for (shard_loss, shard_gradients) in results {
        loss += shard_loss;
        gradients.add(shard_gradients, pass.threads)?;
    }
    Ok((loss, gradients))
}

fn of_shard(
    model: &BertClassifier,
    parameters: &Parameters,
    samples: &[&Sample],
    pass: Pass,
) -> Result<(f64, Gradients)> {
    let texts: Vec<&[u32]> = samples.iter().map(|sample| sample.ids.as_slice()).collect();
    let labels: Vec<u32> = samples.iter().map(|sample| sample.label).collect();
    let logits = model.forward(&TokenBatch::new(&texts), Some(&pass.dropout))?;
    let loss = (pass.loss.sum(&logits, &labels)? * pass.scale)?;
    let mut store = loss.backward()?;
    let gradients = parameters.variables().map(|(name, parameter)| {
        let gradient = store.remove(parameter);
        gradient.with_context(|| format!("no gradient reached {name}: that is a bug"))
    });
    let gradients = gradients.collect::<Result<_>>()?;
    Ok((f64::from(loss.to_scalar::<f32>()?), Gradients(gradients)))
}

impl Gradients {
    /// Gradients that were computed elsewhere.
    #[cfg(test)]
    pub(crate) fn new(gradients: Vec<Tensor>) -> Self {
        Self(gradients)
    }

    fn zeros(parameters: &Parameters) -> Result<Self> {
        let zeros = |(_, parameter): (&str, &Tensor)| Ok(parameter.zeros_like()?.detach());
        Ok(Self(parameters.variables().map(zeros).collect::<Result<_>>()?))
    }

    /// Adds others in place.
    pub(crate) fn add(&mut self, others: Self, threads: usize) -> Result<()> {
        let pairs: Vec<_> = self.0.iter_mut().zip(others.0).collect();
        parallel::map(
            threads,
            pairs,
            |(sum, _)| sum.elem_count(),
            |(sum, other)| {
                if sum.device().is_cpu() {
                    sum.inplace_op2(&other, &AddInPlace)?;
                } else {
                    *sum = (&*sum + other)?;
                }
                Ok(())
            },
        )?;
        Ok(())
    }

    /// The length of all gradients as one vector; summed by parameter in the order of their names.
    pub(crate) fn norm(&self, threads: usize) -> Result<f64> {
        let squares = parallel::map(
            threads,
            self.0.iter().collect(),
            |gradient| gradient.elem_count(),
            |gradient| {
                if gradient.device().is_cpu() {
                    Ok(read(gradient, sum_of_squares)?)
                } else {
                    Ok(f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?))
                }
            },
        )?;
        Ok(squares.iter().sum::<f64>().sqrt())
    }

    /// All values, one gradient after the other.
    pub(crate) fn to_values(&self) -> Result<Vec<f32>> {
        let values = self.0.iter().map(|gradient| gradient.flatten_all()?.to_vec1::<f32>());
        Ok(values.collect::<candle_core::Result<Vec<_>>>()?.concat())
    }

    /// Gradients of the same shapes with the values that [`to_values`](Self::to_values) gave.
    pub(crate) fn with_values(&self, mut values: &[f32]) -> Result<Self> {
        let gradients = self.0.iter().map(|gradient| {
            let (own, rest) = values.split_at(gradient.elem_count());
            values = rest;
            Tensor::from_slice(own, gradient.shape(), gradient.device())
        });
        Ok(Self(gradients.collect::<candle_core::Result<_>>()?))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Tensor> {
        self.0.iter()
    }
}

/// Sixteen sums side by side, for the compiler to make vectors of; squares of f32 in f64 neither overflow nor vanish.
fn sum_of_squares(values: &[f32]) -> f64 {
    let mut sums = [0.0f64; 16];
    let chunks = values.chunks_exact(sums.len());
    let rest = chunks.remainder();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(*value) * f64::from(*value);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>()
}

/// The values of a contiguous f32 tensor on the CPU, without copying them.
pub(crate) fn read<R>(tensor: &Tensor, look: impl FnOnce(&[f32]) -> R) -> candle_core::Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(look(slice(storage, layout)?)),
        _ => bail!("not on the CPU"),
    }
}

pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("a gradient or parameter must be contiguous") };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

pub(crate) fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> candle_core::Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("a gradient or parameter must be f32 and contiguous"),
    }
}

struct AddInPlace;

impl InplaceOp2 for AddInPlace {
    fn name(&self) -> &'static str {
        "add-in-place"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        sum_layout: &Layout,
        other: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<()> {
        for (sum, other) in slice_mut(sum, sum_layout)?.iter_mut().zip(slice(other, layout)?) {
            *sum += other;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_norm_is_that_of_all_gradients_together() {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let gradients = Gradients(vec![tensor(&[3.0; 16]), tensor(&[0.0, 5.0, 0.0])]);
        assert_eq!(gradients.norm(2).unwrap(), 13.0);
    }

    #[test]
    fn gradients_become_values_and_values_gradients() {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let gradients = Gradients(vec![tensor(&[3.0, 4.0]), tensor(&[5.0])]);
        let again = gradients.with_values(&gradients.to_values().unwrap()).unwrap();
        assert_eq!(again.0[0].to_vec1::<f32>().unwrap(), [3.0, 4.0]);
        assert_eq!(again.0[1].to_vec1::<f32>().unwrap(), [5.0]);
    }

    #[test]
    fn gradients_are_added_in_place() {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let mut sum = Gradients(vec![tensor(&[1.0, 2.0])]);
        sum.add(Gradients(vec![tensor(&[0.5, -2.0])]), 2).unwrap();
        assert_eq!(sum.0[0].to_vec1::<f32>().unwrap(), [1.5, 0.0]);
    }
}
