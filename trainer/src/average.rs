//! The average of the weights over the steps.

use anyhow::Result;
use bert::Parameters;
use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};

use crate::backprop::tensors::{slice, slice_mut};
use crate::parallel;

/// An exponential moving average: each step takes it `1 - decay` of the way to the weights.
pub(crate) struct Average {
    decay: f64,
    /// By name, in the order of the names.
    tensors: Vec<(String, Tensor)>,
}

impl Average {
    /// Starts at these weights.
    pub(crate) fn new(parameters: &Parameters, decay: f64) -> Result<Self> {
        let copy = |(name, tensor): (&str, &Tensor)| Ok((name.to_owned(), tensor.detach().copy()?));
        Ok(Self { decay, tensors: parameters.iter().map(copy).collect::<Result<_>>()? })
    }

    /// Takes in the weights after step `step`, counted from 1.
    ///
    /// The first steps weigh more, as in TensorFlow's `ExponentialMovingAverage` with
    /// `num_updates`: a short run would otherwise average mostly what it started from.
    pub(crate) fn step(&mut self, parameters: &Parameters, step: usize, threads: usize) -> Result<()> {
        let share = 1.0 - self.decay.min((1.0 + step as f64) / (10.0 + step as f64));
        // Each thread would have a stream of its own on a GPU, which does not wait for this one's.
        let is_on_cpu = self.tensors.iter().all(|(_, average)| average.device().is_cpu());
        let threads = if is_on_cpu { threads } else { 1 };
        let pairs: Vec<_> = self.tensors.iter_mut().zip(parameters.iter()).collect();
        parallel::map(
            threads,
            pairs,
            |((_, average), _)| average.elem_count(),
            |((_, average), (_, weights))| {
                let weights = weights.detach();
                if average.device().is_cpu() {
                    average.inplace_op2(&weights, &Approach { share })?;
                } else {
                    *average = (&*average + ((weights - &*average)? * share)?)?;
                }
                Ok(())
            },
        )?;
        Ok(())
    }

    /// Goes on from averages that were kept, by name.
    pub(crate) fn restore(&mut self, kept: impl Fn(&str) -> Result<Tensor>) -> Result<()> {
        for (name, average) in &mut self.tensors {
            *average = kept(name)?.to_device(average.device())?;
        }
        Ok(())
    }

    /// The averaged weights.
    pub(crate) fn parameters(&self) -> Parameters {
        Parameters::new(self.tensors.iter().cloned().collect())
    }
}

/// Moves a share of the way to another tensor.
struct Approach {
    share: f64,
}

impl InplaceOp2 for Approach {
    fn name(&self) -> &'static str {
        "approach"
    }

    fn cpu_fwd(
        &self,
        average: &mut CpuStorage,
        average_layout: &Layout,
        weights: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<()> {
        let share = self.share as f32;
        for (average, weight) in slice_mut(average, average_layout)?.iter_mut().zip(slice(weights, layout)?) {
            *average += share * (weight - *average);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    /// ```python
    /// average = 1.0
    /// for step, weight in enumerate([2.0, -1.0, 4.0], 1):
    ///     decay = min(0.25, (1 + step) / (10 + step)); average = decay * average + (1 - decay) * weight; print(average)
    /// ```
    #[test]
    fn three_steps_are_those_of_the_formula() {
        let weight = Var::new(&[1.0f32], &Device::Cpu).unwrap();
        let parameters = Parameters::new([("w".to_owned(), weight.as_tensor().clone())].into());
        let mut average = Average::new(&parameters, 0.25).unwrap();
        for (step, (value, expected)) in [(2.0f32, 1.8181819), (-1.0, -0.2954545), (4.0, 2.9261363)].iter().enumerate()
        {
            weight.set(&Tensor::new(&[*value], &Device::Cpu).unwrap()).unwrap();
            average.step(&parameters, step + 1, 1).unwrap();
            let found = average.parameters().get("w").unwrap().to_vec1::<f32>().unwrap()[0];
            assert!((found - expected).abs() < 1e-6, "{found}");
        }
    }
}
