//! The gradients of several GPUs, summed by NCCL without a way through the processors' memory.

use anyhow::{Context, Result, anyhow, ensure};
use candle_core::cuda_backend::cudarc::nccl::result::NcclError;
use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, ReduceOp};
use candle_core::{CpuStorage, CudaDevice, CudaStorage, InplaceOp1, Layout, Tensor, bail};

use crate::replica::Share;

/// All replicas, as NCCL connects them.
pub(super) struct Ring(Comm);

impl Ring {
    /// By which the replicas find each other: made by the first, told to all.
    pub fn id() -> Result<Vec<u8>> {
        let id = Id::new().map_err(failed).context("NCCL cannot be started")?;
        Ok(id.internal().iter().map(|byte| byte.to_ne_bytes()[0]).collect())
    }

    /// Waits for the others, each with a GPU of its own.
    pub fn join(id: &[u8], share: Share, device: &CudaDevice) -> Result<Self> {
        ensure!(id.len() == 128, "the first replica has told no id of NCCL's");
        let id = Id::uninit(std::array::from_fn(|place| std::ffi::c_char::from_ne_bytes([id[place]])));
        let comm = Comm::from_rank(device.cuda_stream(), share.rank, share.replicas, id);
        Ok(Self(comm.map_err(failed).context("NCCL cannot join the replicas")?))
    }

    /// Sums the losses, which it gives, and the gradients of all in one message.
    pub fn sum(&self, loss: f64, gradients: &mut [Tensor]) -> Result<f64> {
        let device = gradients.first().context("nothing is trained: a bug")?.device().clone();
        let mut parts = gradients.iter().map(Tensor::flatten_all).collect::<candle_core::Result<Vec<_>>>()?;
        parts.push(Tensor::new(&[loss as f32], &device)?);
        let sums = Tensor::cat(&parts, 0)?;
        sums.inplace_op1(&AllReduce(&self.0))?;
        let mut start = 0;
        for gradient in gradients {
            let count = gradient.elem_count();
            *gradient = sums.narrow(0, start, count)?.reshape(gradient.shape())?.force_contiguous()?;
            start += count;
        }
        Ok(f64::from(sums.get(start)?.to_scalar::<f32>()?))
    }
}

fn failed(error: NcclError) -> anyhow::Error {
    anyhow!("NCCL: {:?}", error.0)
}

struct AllReduce<'a>(&'a Comm);

impl InplaceOp1 for AllReduce<'_> {
    fn name(&self) -> &'static str {
        "all-reduce"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        bail!("NCCL sums what is on GPUs: a bug")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> candle_core::Result<()> {
        let values = storage.as_cuda_slice_mut::<f32>()?;
        if layout.contiguous_offsets() != Some((0, values.len())) {
            bail!("NCCL sums whole tensors: a bug");
        }
        match self.0.all_reduce_in_place(values, &ReduceOp::Sum) {
            Ok(_) => Ok(()),
            Err(error) => bail!("NCCL: {:?}", error.0),
        }
    }
}
