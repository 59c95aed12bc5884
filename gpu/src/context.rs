//! A GPU's context, and the threads that have it.

use candle_core::{Device, Result};

/// Makes a GPU's context that of the calling thread; nothing on a CPU. What computes does so by
/// itself, but not what frees memory, modules and handles: in a thread without the context they
/// would stay where they are.
///
/// # Errors
/// Failures of the device; one that nobody could be told of before.
pub fn enter(device: &Device) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            use candle_core::cuda_backend::WrapErr;
            device.cuda_stream().context().bind_to_thread().w()
        }
        _ => Ok(()),
    }
}
