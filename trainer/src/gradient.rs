//! A batch to its loss and gradients, one thread a core.

#[cfg(feature = "cuda")]
use std::cell::RefCell;

use anyhow::{Context, Result, bail, ensure};
use bert::{Dropout, ModelConfig, Parameters, Reference, TokenBatch};
use candle_core::{Device, Tensor, Var};
use kernels::sum_of_squares;

use crate::backprop::{self, Network, Trace};
use crate::batches::Sample;
#[cfg(feature = "cuda")]
use crate::gpu_backprop;
use crate::loss::Loss;
use crate::parallel;
use crate::precision::ProductPrecision;
use crate::replica::Share;
use crate::step_kernels::StepKernels;

/// One gradient a variable, sorted by the parameters' names: on the CPU in memory that is used
/// again at each step.
pub(crate) enum Gradients {
    Cpu { sums: backprop::Gradients, traces: Vec<Trace> },
    Device { sums: Vec<Tensor>, kernels: StepKernels },
}

/// A model as its gradients are computed.
pub(crate) struct Model {
    network: Differentiated,
    parameters: Parameters,
    device: Device,
    is_bf16: bool,
}

enum Differentiated {
    /// By hand, on the CPU.
    Backprop(Network),
    /// By hand, on a GPU.
    #[cfg(feature = "cuda")]
    Gpu(RefCell<Box<gpu_backprop::Network<gpu::Gpu>>>),
    /// By candle, on a GPU, where our kernels cannot do it.
    Reference(Reference),
}

/// How a batch is passed through the model.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub loss: &'a Loss,
    /// What the sum of the losses is multiplied with: one over what the samples of the whole step
    /// count.
    pub scale: f64,
    /// The masks of this batch.
    pub dropout: Dropout,
    /// Shards, and threads for them.
    pub threads: usize,
    /// The shards that are ours, where others compute the rest.
    pub share: Share,
}

impl Model {
    /// Over parameters on `device`, which it shares.
    pub(crate) fn new(
        config: &ModelConfig,
        parameters: &Parameters,
        precision: ProductPrecision,
        device: &Device,
    ) -> Result<Self> {
        let is_bf16 = precision.is_bf16(device);
        #[cfg(feature = "cuda")]
        if let Device::Cuda(cuda) = device
            && is_bf16
            && gpu_backprop::suits(config)
            && gpu::Gpu::has_bf16(cuda)?
        {
            let open = || {
                let gpu = gpu::Gpu::new(cuda, &gpu_backprop::kernels(config))?;
                gpu_backprop::Network::new(gpu, config, parameters)
            };
            let mut network = Box::new(open()?);
            gpu_backprop::agreement::check(&mut network, config, parameters)?;
            let network = Differentiated::Gpu(RefCell::new(network));
            return Ok(Self { network, parameters: parameters.clone(), device: device.clone(), is_bf16 });
        }
        let network = match (device.is_cpu(), is_bf16) {
            (true, true) => bail!(
                "a CPU does not train in bf16: leave the precision at auto, which is f32 here, or name a GPU with --device cuda"
            ),
            (true, false) => Differentiated::Backprop(Network::new(config, parameters)?),
            (false, true) => Differentiated::Reference(Reference::new(config, parameters)?.in_bf16()),
            (false, false) => Differentiated::Reference(Reference::new(config, parameters)?),
        };
        Ok(Self { network, parameters: parameters.clone(), device: device.clone(), is_bf16 })
    }
}

impl Gradients {
    /// None yet.
    pub(crate) fn new(model: &Model) -> Result<Self> {
        Ok(match &model.network {
            Differentiated::Backprop(_) => {
                Self::Cpu { sums: backprop::Gradients::new(&model.parameters), traces: Vec::new() }
            }
            _ => {
                // In f32 everything is candle's.
                let kernels = if model.is_bf16 { StepKernels::new(&model.device)? } else { StepKernels::default() };
                Self::Device { sums: Vec::new(), kernels }
            }
        })
    }

    /// Some that were not computed.
    #[cfg(test)]
    pub(crate) fn on_cpu(gradients: &[Tensor]) -> Self {
        let name = |slot: usize| format!("{slot:03}");
        let named = gradients.iter().enumerate().map(|(slot, tensor)| (name(slot), tensor.clone()));
        let mut sums = backprop::Gradients::new(&Parameters::new(named.collect()).trainable().unwrap());
        for (slot, tensor) in gradients.iter().enumerate() {
            sums.add(slot, &tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        }
        Self::Cpu { sums, traces: Vec::new() }
    }

    /// Forgets them, before a step.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Cpu { sums, .. } => sums.clear(),
            Self::Device { sums, .. } => sums.clear(),
        }
    }

    /// Adds those of our share of a batch and gives its loss, summed over its samples and times
    /// `scale`.
    ///
    /// On the CPU the samples are dealt to `threads` shards a replica, each on a thread of its own,
    /// and the shards are summed in order: the result depends on the number of threads (by
    /// rounding) but not on their timing.
    pub(crate) fn add_batch(&mut self, model: &Model, samples: &[Sample], pass: Pass) -> Result<f64> {
        let threads = if matches!(self, Self::Cpu { .. }) { pass.threads } else { 1 };
        let shards = (threads * pass.share.replicas).min(samples.len());
        let first = threads * pass.share.rank;
        // Neighbours are of similar length, so dealing them out in turn gives shards of similar
        // work. A last batch may have fewer samples than there are shards.
        let own: Vec<Shard> = (first..shards.min(first + threads))
            .map(|number| Shard::new(samples.iter().skip(number).step_by(shards), pass.dropout.shard(number)))
            .collect();
        match (self, &model.network) {
            (Self::Cpu { sums, traces }, Differentiated::Backprop(network)) => {
                add_on_cpu(sums, traces, network, &own, pass)
            }
            (Self::Device { sums, .. }, Differentiated::Reference(reference)) => {
                add_on_device(sums, reference, &model.parameters, &own, pass)
            }
            #[cfg(feature = "cuda")]
            (Self::Device { sums, .. }, Differentiated::Gpu(network)) => {
                add_on_gpu(sums, &mut network.borrow_mut(), &own, pass)
            }
            _ => bail!("gradients of another model: a bug"),
        }
    }

    /// The length of all gradients as one vector; summed by parameter in the order of their names.
    pub(crate) fn norm(&self, threads: usize) -> Result<f64> {
        let squares = match self {
            Self::Cpu { sums, .. } => {
                let values = sums.values().iter().collect();
                parallel::map(threads, values, |values: &&Vec<f32>| values.len(), |values| Ok(sum_of_squares(values)))?
            }
            Self::Device { sums, kernels } => {
                let square = |sum: &Tensor| Ok(f64::from(sum.sqr()?.sum_all()?.to_scalar::<f32>()?));
                match kernels.squares(sums)? {
                    Some(squares) => squares,
                    None => sums.iter().map(square).collect::<Result<_>>()?,
                }
            }
        };
        Ok(squares.iter().sum::<f64>().sqrt())
    }

    /// All values, one gradient after the other.
    pub(crate) fn to_values(&self) -> Result<Vec<f32>> {
        match self {
            Self::Cpu { sums, .. } => Ok(sums.values().concat()),
            Self::Device { sums, .. } => {
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
            Self::Device { sums, .. } => {
                for sum in sums {
                    *sum = Tensor::from_slice(next(sum.elem_count()), sum.shape(), sum.device())?;
                }
            }
        }
        Ok(())
    }
}

fn add_on_cpu(
    sums: &mut backprop::Gradients,
    traces: &mut Vec<Trace>,
    network: &Network,
    shards: &[Shard],
    pass: Pass,
) -> Result<f64> {
    if shards.is_empty() {
        sums.fill();
        return Ok(0.0);
    }
    traces.resize_with(shards.len(), Trace::default);
    let jobs = shards.iter().zip(traces.iter_mut()).collect();
    let losses = parallel::map(
        pass.threads,
        jobs,
        |_| 1,
        |(shard, trace)| {
            let logits = Var::from_tensor(&network.forward(&shard.batch, Some(&shard.dropout), trace)?)?;
            let loss = shard.loss(&logits, pass)?;
            trace.set_gradient(loss.backward()?.get(&logits).context("the loss has no gradient: a bug")?)?;
            Ok(f64::from(loss.to_scalar::<f32>()?))
        },
    )?;
    network.backward(traces, sums)?;
    ensure!(sums.missing().is_none(), "a gradient has not been computed: a bug");
    Ok(losses.iter().sum())
}

fn add_on_device(
    sums: &mut Vec<Tensor>,
    reference: &Reference,
    parameters: &Parameters,
    shards: &[Shard],
    pass: Pass,
) -> Result<f64> {
    let mut sum = 0.0;
    for shard in shards {
        let loss = shard.loss(&reference.forward(&shard.batch, Some(&shard.dropout))?, pass)?;
        sum += f64::from(loss.to_scalar::<f32>()?);
        let mut store = loss.backward()?;
        let gradients = parameters.variables().map(|(name, parameter)| {
            let gradient = store.remove(parameter);
            gradient.with_context(|| format!("no gradient reached {name}: that is a bug"))
        });
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        *sums = if sums.is_empty() {
            gradients
        } else {
            sums.iter().zip(gradients).map(|(sum, gradient)| Ok((sum + gradient)?)).collect::<Result<_>>()?
        };
    }
    if sums.is_empty() {
        let zeros = parameters.variables().map(|(_, parameter)| Ok(parameter.zeros_like()?.detach()));
        *sums = zeros.collect::<Result<_>>()?;
    }
    Ok(sum)
}

#[cfg(feature = "cuda")]
fn add_on_gpu(
    sums: &mut Vec<Tensor>,
    network: &mut gpu_backprop::Network<gpu::Gpu>,
    shards: &[Shard],
    pass: Pass,
) -> Result<f64> {
    if shards.is_empty() && sums.is_empty() {
        network.clear()?;
    }
    let mut sum = 0.0;
    for (number, shard) in shards.iter().enumerate() {
        let logits = network.forward(&shard.batch, Some(&shard.dropout))?;
        let shape = (shard.batch.texts(), logits.len() / shard.batch.texts());
        let logits = Var::from_tensor(&Tensor::from_vec(logits, shape, &Device::Cpu)?)?;
        let loss = shard.loss(&logits, pass)?;
        sum += f64::from(loss.to_scalar::<f32>()?);
        let gradients = loss.backward()?;
        let gradient = gradients.get(&logits).context("the loss has no gradient: a bug")?;
        let add = number > 0 || !sums.is_empty();
        network.backward(gradient.flatten_all()?.to_vec1()?, add)?;
    }
    *sums = network.gradients().to_vec();
    Ok(sum)
}

/// The part of a batch that one thread computes.
struct Shard {
    batch: TokenBatch,
    samples: Vec<Sample>,
    dropout: Dropout,
}

impl Shard {
    fn new<'a>(samples: impl Iterator<Item = &'a Sample> + Clone, dropout: Dropout) -> Self {
        let texts: Vec<&[u32]> = samples.clone().map(|sample| sample.ids.as_slice()).collect();
        Self { batch: TokenBatch::new(&texts), samples: samples.cloned().collect(), dropout }
    }

    fn loss(&self, logits: &Tensor, pass: Pass) -> Result<Tensor> {
        Ok((pass.loss.sum(logits, &self.samples)? * pass.scale)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    fn on_device(gradients: &[Tensor]) -> Gradients {
        Gradients::Device { sums: gradients.to_vec(), kernels: StepKernels::default() }
    }

    #[test]
    fn the_norm_is_that_of_all_gradients_together() {
        let gradients = [tensor(&[3.0; 16]), tensor(&[0.0, 5.0, 0.0])];
        assert_eq!(Gradients::on_cpu(&gradients).norm(2).unwrap(), 13.0);
        assert_eq!(on_device(&gradients).norm(2).unwrap(), 13.0);
    }

    #[test]
    fn gradients_become_values_and_values_gradients() {
        let gradients = [tensor(&[3.0, 4.0]), tensor(&[5.0])];
        for mut gradients in [Gradients::on_cpu(&gradients), on_device(&gradients)] {
            assert_eq!(gradients.to_values().unwrap(), [3.0, 4.0, 5.0]);
            gradients.set_values(&[1.0, 2.0, 6.0]).unwrap();
            assert_eq!(gradients.to_values().unwrap(), [1.0, 2.0, 6.0]);
        }
    }
}
