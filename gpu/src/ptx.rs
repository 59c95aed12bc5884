//! Kernels, compiled for GPUs by NVRTC.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use candle_core::Result;
use candle_core::cuda_backend::{WrapErr, cudarc};
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};

use crate::Kernels;

/// The kernels as PTX; a process compiles those of one name and size once.
///
/// # Errors
/// Kernels that do not compile.
pub(crate) fn of(kernels: &Kernels) -> Result<String> {
    static KNOWN: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let module = kernels.module();
    // A panic leaves nothing half done.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(ptx) = known.get(&module) {
        return Ok(ptx.clone());
    }
    let options = CompileOptions {
        // The oldest that has bf16; the driver makes the device's own code of it.
        arch: Some("compute_80"),
        options: kernels.macros.iter().map(|(name, value)| format!("--define-macro={name}={value}")).collect(),
        ..CompileOptions::default()
    };
    let ptx = compile_ptx_with_opts(kernels.source(), options).w()?.to_src();
    known.insert(module, ptx.clone());
    Ok(ptx)
}
