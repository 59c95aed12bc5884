//! A [`Chip`] that is a GPU. All `unsafe` of this engine is here.
#![expect(unsafe_code, reason = "a call of the driver has no safe form; each says why it is sound")]

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bert::ModelConfig;
use candle_core::cuda_backend::{CudaDevice, WrapErr, cudarc};
use candle_core::{Result, bail};
use cudarc::cublaslt::{Activation, CudaBlasLT, Matmul, MatmulConfig};
use cudarc::driver::{CudaEvent, CudaSlice, CudaStream, LaunchConfig, PinnedHostSlice, PushKernelArg, result, sys};
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use half::bf16;

use super::chip::{Argument, Chip, Epilogue, Grid, Linear, Numbers};

const SOURCE: &str = include_str!("kernels.cu");

const KERNELS: [&str; 9] =
    ["embed", "add_norm", "gelu", "attention", "first_rows", "score", "weighted_mean", "greatest_rows", "head"];

/// A GPU, with the kernels for one model.
///
/// Everything goes to one stream, candle's of the calling thread, so it is done in the order it was
/// asked for.
pub(super) struct Gpu {
    stream: Arc<CudaStream>,
    blas: CudaBlasLT,
    kernels: HashMap<&'static str, cudarc::driver::CudaFunction>,
    outbox: [Slot; 2],
    /// The slot that was sent from last.
    turn: usize,
}

/// Words on their way to the device, in memory that it reads by itself while this thread goes on.
#[derive(Default)]
struct Slot {
    words: Option<PinnedHostSlice<u32>>,
    /// When the device has read them.
    read: Option<CudaEvent>,
}

/// Numbers on the device.
#[derive(Debug)]
pub(super) enum Memory {
    Halves(CudaSlice<bf16>),
    Floats(CudaSlice<f32>),
    Words(CudaSlice<u32>),
}

impl Gpu {
    pub fn has_bf16(device: &CudaDevice) -> Result<bool> {
        Ok(device.cuda_stream().context().compute_capability().w()?.0 >= 8)
    }

    /// Compiles the kernels for a model.
    pub fn new(device: &CudaDevice, config: &ModelConfig) -> Result<Self> {
        let (width, head_size) = (config.hidden_size, config.head_size());
        let options = CompileOptions {
            // The oldest that has bf16; the driver makes the device's own code of it.
            arch: Some("compute_80"),
            options: vec![format!("--define-macro=WIDTH={width}"), format!("--define-macro=HEAD_SIZE={head_size}")],
            ..CompileOptions::default()
        };
        let ptx = compile_ptx_with_opts(SOURCE, options).w()?.to_src();
        let module = format!("labelstream-bert-{width}-{head_size}");
        let kernels = KERNELS.map(|name| -> Result<_> {
            let function = device.get_or_load_custom_func(name, &module, &ptx)?;
            Ok((name, function.into_cuda_function()))
        });
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        Ok(Self {
            blas: CudaBlasLT::new(stream.clone()).map_err(candle_core::Error::wrap)?,
            stream,
            kernels: kernels.into_iter().collect::<Result<_>>()?,
            outbox: Default::default(),
            turn: 0,
        })
    }
}

impl Chip for Gpu {
    type Memory = Memory;

    fn upload(&self, numbers: Numbers) -> Result<Memory> {
        Ok(match numbers {
            Numbers::Halves(numbers) => Memory::Halves(self.stream.clone_htod(&numbers).w()?),
            Numbers::Floats(numbers) => Memory::Floats(self.stream.clone_htod(&numbers).w()?),
            Numbers::Words(numbers) => Memory::Words(self.stream.clone_htod(&numbers).w()?),
        })
    }

    fn send(&mut self, words: &[u32], to: &mut Memory) -> Result<()> {
        let Memory::Words(to) = to else { bail!("words to a memory of other numbers are a bug") };
        self.turn = (self.turn + 1) % self.outbox.len();
        let Slot { words: pinned, read } = &mut self.outbox[self.turn];
        // cudarc records this by itself only where a context has several streams.
        if let Some(read) = read.take() {
            read.synchronize().w()?;
        }
        let pinned = match pinned {
            Some(pinned) => pinned,
            None => {
                // SAFETY: the memory is uninitialised, and words of any bits are words; what is
                // sent is written first.
                pinned.insert(unsafe { self.stream.context().alloc_pinned(to.len()) }.w()?)
            }
        };
        let pinned = &mut pinned.as_mut_slice().w()?[..words.len()];
        pinned.copy_from_slice(words);
        self.stream.memcpy_htod(&*pinned, to).w()?;
        *read = Some(self.stream.record_event(None).w()?);
        Ok(())
    }

    fn launch(&self, kernel: &'static str, grid: Grid, arguments: &[Argument<'_, Memory>]) -> Result<()> {
        let function = self.kernels.get(kernel).expect("a kernel without a name is a bug");
        let counts: Vec<i32> = arguments
            .iter()
            .map(|argument| match argument {
                Argument::Count(count) => i32::try_from(*count).map_err(candle_core::Error::wrap),
                _ => Ok(0),
            })
            .collect::<Result<_>>()?;
        let mut launch = self.stream.launch_builder(function);
        for (argument, count) in arguments.iter().zip(&counts) {
            match argument {
                Argument::Memory(Memory::Halves(memory)) => launch.arg(memory),
                Argument::Memory(Memory::Floats(memory)) => launch.arg(memory),
                Argument::Memory(Memory::Words(memory)) => launch.arg(memory),
                Argument::Count(_) => launch.arg(count),
                Argument::Number(number) => launch.arg(number),
            };
        }
        let config = LaunchConfig {
            grid_dim: (grid.blocks.0 as u32, grid.blocks.1 as u32, 1),
            block_dim: (grid.threads as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: a kernel gets the arguments it declares and stays inside its memories: the tests
        // run this very sequence of launches on the CPU, where kinds, numbers and bounds of the
        // arguments are checked. It touches no memory of the host, and all work on these memories
        // is in one stream, so that one written through `&` is read by nobody meanwhile.
        unsafe { launch.launch(config) }.w()?;
        Ok(())
    }

    fn multiply(
        &self,
        x: &Memory,
        rows: usize,
        linear: &Linear<Memory>,
        epilogue: Epilogue,
        out: &mut Memory,
    ) -> Result<()> {
        let (Memory::Halves(x), Memory::Halves(weight), Memory::Halves(bias), Memory::Halves(out)) =
            (x, &linear.weight, &linear.bias, out)
        else {
            bail!("a product of anything but bf16 is a bug")
        };
        let (inputs, outputs) = (linear.inputs, linear.outputs);
        if x.len() < rows * inputs || out.len() < rows * outputs {
            bail!("a product of {rows} rows in memory for fewer is a bug");
        }
        let activation = match epilogue {
            Epilogue::Nothing => None,
            Epilogue::Relu => Some(Activation::Relu),
            // cublasLt's is the tanh form.
            Epilogue::TanhGelu => Some(Activation::Gelu),
        };
        // Its matrices lie by columns: a matrix of ours is to it the transposed one, so it computes
        // outᵀ = weight · xᵀ.
        let config = MatmulConfig {
            transa: true,
            transb: false,
            transc: false,
            m: outputs as u64,
            n: rows as u64,
            k: inputs as u64,
            alpha: 1.0,
            lda: inputs as i64,
            ldb: inputs as i64,
            beta: 0.0,
            ldc: outputs as i64,
            stride_a: None,
            stride_b: None,
            stride_c: None,
            stride_bias: None,
            batch_size: None,
        };
        // SAFETY: weight and bias have the numbers of outputs and inputs that the layer was made
        // with, and x and out at least as many as the rows need, as checked above.
        unsafe { self.blas.matmul(config, weight, x, out, Some(bias), activation.as_ref()) }
            .map_err(candle_core::Error::wrap)
    }

    fn fetch(&self, memory: &Memory, count: usize) -> Result<Vec<f32>> {
        let Memory::Floats(memory) = memory else { bail!("logits of another kind than f32 are a bug") };
        let numbers = self.stream.clone_dtoh(&memory.slice(..count)).w()?;
        self.settle()?;
        Ok(numbers)
    }

    fn settle(&self) -> Result<()> {
        self.stream.synchronize().w()
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Gpu").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// Lets candle keep the memory that it frees, instead of giving it back to the driver whenever the
/// host waits for the device.
pub(crate) fn keep_memory(device: &CudaDevice) -> Result<()> {
    let context = device.cuda_stream().context().clone();
    if !context.has_async_alloc() {
        return Ok(());
    }
    context.bind_to_thread().w()?;
    let mut threshold = u64::MAX;
    // SAFETY: the device is an open one, its default pool lives as long as it does, and the
    // attribute is a u64.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device()).w()?;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, attribute, (&raw mut threshold).cast()).w()
    }
}
