//! The kernels of a step over all parameters, where the parameters are on a GPU that has them.

use anyhow::Result;
use candle_core::{Device, Tensor};

use crate::adam_factors::Factors;
#[cfg(feature = "cuda")]
use crate::gpu_backprop::Optimizer;

/// The kernels, or none.
#[derive(Default)]
pub(crate) struct StepKernels {
    #[cfg(feature = "cuda")]
    optimizer: Option<Optimizer<gpu::Gpu>>,
}

impl StepKernels {
    /// Those for a device.
    ///
    /// # Errors
    /// Failures of the device.
    pub(crate) fn new(device: &Device) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(cuda) = device
            && gpu::Gpu::has_bf16(cuda)?
        {
            let gpu = gpu::Gpu::new(cuda, &Optimizer::<gpu::Gpu>::kernels())?;
            return Ok(Self { optimizer: Some(Optimizer::new(gpu)) });
        }
        let _ = device;
        Ok(Self::default())
    }

    /// Whether there are none.
    pub(crate) fn are_none(&self) -> bool {
        #[cfg(feature = "cuda")]
        return self.optimizer.is_none();
        #[cfg(not(feature = "cuda"))]
        true
    }

    /// The sums of the squares of tensors, if there are kernels.
    pub(crate) fn squares(&self, tensors: &[Tensor]) -> Result<Option<Vec<f64>>> {
        #[cfg(feature = "cuda")]
        if let Some(optimizer) = &self.optimizer {
            return Ok(Some(optimizer.squares(tensors)?));
        }
        let _ = tensors;
        Ok(None)
    }

    /// Moves a parameter and its moments, if there are kernels: whether there are.
    pub(crate) fn step(
        &self,
        parameter: &Tensor,
        gradient: &Tensor,
        moments: [&Tensor; 2],
        factors: Factors,
    ) -> Result<bool> {
        #[cfg(feature = "cuda")]
        if let Some(optimizer) = &self.optimizer {
            optimizer.step(parameter, gradient, moments, factors)?;
            return Ok(true);
        }
        let _ = (parameter, gradient, moments, factors);
        Ok(false)
    }
}
