//! What a GPU says when something fails, for people.

use candle_core::Error;

/// The same error without the backtrace that candle may add, and of a GPU's with what to do.
pub fn explain(error: Error) -> Error {
    match error {
        Error::WithBacktrace { inner, .. } => explain(*inner),
        Error::Cuda(inner) => Error::Msg(advice(&inner.to_string())),
        // cuBLAS's come like this, and much else does.
        Error::Wrapped(inner) if inner.to_string().contains("CUBLAS") => Error::Msg(advice(&inner.to_string())),
        other => other,
    }
}

fn advice(said: &str) -> String {
    let has = |names: &[&str]| names.iter().any(|name| said.contains(name));
    if has(&["OUT_OF_MEMORY", "ALLOC_FAILED"]) {
        return format!(
            "the GPU has no memory left: end what else runs on it, name another with --device cuda:N, or take the CPU with --device cpu ({said})"
        );
    }
    if has(&["NO_DEVICE", "INVALID_DEVICE"]) {
        return format!(
            "there is no such GPU: `nvidia-smi` lists those that there are; --device cpu runs everywhere ({said})"
        );
    }
    if has(&["INSUFFICIENT_DRIVER", "UNSUPPORTED_PTX_VERSION", "SYSTEM_DRIVER_MISMATCH"]) {
        return format!("the GPU's driver is older than this program: update it, or take --device cpu ({said})");
    }
    format!("the GPU has failed: {said}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_gpu_says_what_to_do_without_a_backtrace() {
        let of = |said: &'static str| {
            let error = Error::Cuda(said.into());
            let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
            explain(Error::WithBacktrace { inner: Box::new(error), backtrace }).to_string()
        };
        for (said, expected) in [
            ("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")", "the GPU has no memory left: end what else"),
            ("CublasError(CUBLAS_STATUS_ALLOC_FAILED)", "the GPU has no memory left"),
            ("CUDA_ERROR_NO_DEVICE", "there is no such GPU: `nvidia-smi` lists"),
            ("CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the GPU's driver is older than this program"),
            ("CUDA_ERROR_ILLEGAL_ADDRESS", "the GPU has failed: CUDA_ERROR_ILLEGAL_ADDRESS"),
        ] {
            let found = of(said);
            assert!(found.starts_with(expected) && found.contains(said) && !found.contains('\n'), "{found}");
        }
        assert_eq!(explain(Error::Wrapped(Box::new("no file"))).to_string(), "no file");
        assert_eq!(explain(Error::Msg("a text is too long".into())).to_string(), "a text is too long");
    }
}
