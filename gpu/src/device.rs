//! A [`Chip`] that is a GPU. All `unsafe` of this crate is here.
#![expect(unsafe_code, reason = "a call of the driver has no safe form; each says why it is sound")]

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::c_int;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use candle_core::cuda_backend::{CudaDevice, WrapErr, cudarc};
use candle_core::{Result, Storage, Tensor, bail};
use cudarc::cublas::sys::{
    cublasComputeType_t, cublasGemmAlgo_t, cublasMath_t, cublasOperation_t, cublasSetMathMode, cudaDataType,
};
use cudarc::cublas::{CudaBlas, result as cublas};
use cudarc::cublaslt::{Activation, CudaBlasLT, Matmul, MatmulConfig};
use cudarc::driver::{
    CudaEvent, CudaSlice, CudaStream, DevicePtr, LaunchConfig, PinnedHostSlice, PushKernelArg, result, sys,
};
use half::bf16;

use crate::{Argument, Chip, Epilogue, Grid, Kernels, Kind, Linear, Matrix, Numbers, ptx};

/// Bytes that cublasLt asks for on its own, at most.
const WORKSPACE: usize = 32 << 20;

/// A GPU, with kernels compiled for it.
///
/// Everything goes to one stream, candle's of the calling thread, so it is done in the order it was
/// asked for.
pub struct Gpu {
    stream: Arc<CudaStream>,
    products: OnceCell<CudaBlas>,
    layers: OnceCell<CudaBlasLT>,
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
pub enum Memory {
    /// bf16
    Halves(CudaSlice<bf16>),
    /// f32
    Floats(CudaSlice<f32>),
    /// u32
    Words(CudaSlice<u32>),
    /// f32, and a tensor's
    Shared(Tensor),
}

impl Gpu {
    /// Whether the GPU has bf16: those before Ampere do not.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn has_bf16(device: &CudaDevice) -> Result<bool> {
        Ok(device.cuda_stream().context().compute_capability().w()?.0 >= 8)
    }

    /// Compiles the kernels.
    ///
    /// # Errors
    /// Kernels that do not compile; failures of the device.
    pub fn new(device: &CudaDevice, kernels: &Kernels) -> Result<Self> {
        let module = kernels.module();
        let ptx = ptx::of(kernels)?;
        let compiled = kernels.names.iter().map(|name| -> Result<_> {
            let function = device.get_or_load_custom_func(name, &module, &ptx)?;
            Ok((*name, function.into_cuda_function()))
        });
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        Ok(Self {
            products: OnceCell::new(),
            layers: OnceCell::new(),
            stream,
            kernels: compiled.collect::<Result<_>>()?,
            outbox: Default::default(),
            turn: 0,
        })
    }

    /// What multiplies, made when it is first asked for.
    fn products(&self) -> Result<&CudaBlas> {
        if self.products.get().is_none() {
            let products = CudaBlas::new(self.stream.clone()).map_err(candle_core::Error::wrap)?;
            // SAFETY: the handle is an open one. Sums are f32 to their end, as `product` says.
            unsafe {
                let mode = cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
                cublasSetMathMode(*products.handle(), mode).result().map_err(candle_core::Error::wrap)?;
            }
            self.products.set(products).ok();
        }
        Ok(self.products.get().expect("it has just been made"))
    }

    /// The same for linear layers.
    fn layers(&self) -> Result<&CudaBlasLT> {
        if self.layers.get().is_none() {
            // It panics where there is no memory for its own.
            drop(self.stream.alloc_zeros::<u8>(WORKSPACE).w()?);
            let layers = CudaBlasLT::new(self.stream.clone()).map_err(candle_core::Error::wrap)?;
            self.layers.set(layers).ok();
        }
        Ok(self.layers.get().expect("it has just been made"))
    }

    /// Where a memory of bf16 or f32 is, how many numbers it has, and their type.
    fn place(&self, memory: &Memory) -> Result<(u64, usize, cudaDataType)> {
        match memory {
            Memory::Halves(memory) => Ok((memory.device_ptr(&self.stream).0, memory.len(), cudaDataType::CUDA_R_16BF)),
            Memory::Floats(memory) => Ok((memory.device_ptr(&self.stream).0, memory.len(), cudaDataType::CUDA_R_32F)),
            Memory::Words(_) => bail!("a product of words is a bug"),
            Memory::Shared(tensor) => {
                let memory = hold(tensor)?;
                Ok((memory.device_ptr(&self.stream).0, memory.len(), cudaDataType::CUDA_R_32F))
            }
        }
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

    fn zeros(&self, kind: Kind, count: usize) -> Result<Memory> {
        // The driver has no memory of nothing.
        let count = count.max(1);
        Ok(match kind {
            Kind::Halves => Memory::Halves(self.stream.alloc_zeros(count).w()?),
            Kind::Floats => Memory::Floats(self.stream.alloc_zeros(count).w()?),
            Kind::Words => Memory::Words(self.stream.alloc_zeros(count).w()?),
        })
    }

    fn share(&self, tensor: &Tensor) -> Result<Memory> {
        hold(tensor)?;
        Ok(Memory::Shared(tensor.clone()))
    }

    fn send(&mut self, words: &[u32], to: &mut Memory) -> Result<()> {
        let Memory::Words(to) = to else { bail!("words to a memory of other numbers are a bug") };
        self.turn = (self.turn + 1) % self.outbox.len();
        let Slot { words: pinned, read } = &mut self.outbox[self.turn];
        // cudarc records this by itself only where a context has several streams.
        if let Some(read) = read.take() {
            read.synchronize().w()?;
        }
        if pinned.as_ref().is_none_or(|pinned| pinned.len() < words.len()) {
            // SAFETY: the memory is uninitialised, and words of any bits are words; what is sent is
            // written first.
            *pinned = Some(unsafe { self.stream.context().alloc_pinned(to.len()) }.w()?);
        }
        let Some(pinned) = pinned else { bail!("no memory to send from is a bug") };
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
        let tensors: Vec<_> = arguments
            .iter()
            .map(|argument| match argument {
                Argument::Memory(Memory::Shared(tensor)) => hold(tensor).map(Some),
                _ => Ok(None),
            })
            .collect::<Result<_>>()?;
        let mut launch = self.stream.launch_builder(function);
        for ((argument, count), tensor) in arguments.iter().zip(&counts).zip(&tensors) {
            match argument {
                Argument::Memory(Memory::Halves(memory)) => launch.arg(memory),
                Argument::Memory(Memory::Floats(memory)) => launch.arg(memory),
                Argument::Memory(Memory::Words(memory)) => launch.arg(memory),
                Argument::Memory(Memory::Shared(_)) => {
                    let Some(tensor) = tensor else { bail!("a tensor that is not held is a bug") };
                    launch.arg(&**tensor)
                }
                Argument::Count(_) => launch.arg(count),
                Argument::Bits(bits) => launch.arg(bits),
                Argument::Number(number) => launch.arg(number),
            };
        }
        let config = LaunchConfig {
            grid_dim: (grid.blocks.0 as u32, grid.blocks.1 as u32, 1),
            block_dim: (grid.threads as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: a kernel gets the arguments it declares and stays inside its memories: the tests
        // run these very sequences of launches on the CPU, where kinds, numbers and bounds of the
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
        unsafe { self.layers()?.matmul(config, weight, x, out, Some(bias), activation.as_ref()) }
            .map_err(candle_core::Error::wrap)
    }

    fn product(&self, left: Matrix<'_, Memory>, right: Matrix<'_, Memory>, out: &Memory, add: bool) -> Result<()> {
        let ((rows, inner), (others, columns)) = (left.size(), right.size());
        let [(left_at, left_count, left_type), (right_at, right_count, right_type), (out_at, out_count, out_type)] =
            [self.place(left.memory)?, self.place(right.memory)?, self.place(out)?];
        let fits = inner == others && left.end() <= left_count && right.end() <= right_count;
        let half = cudaDataType::CUDA_R_16BF;
        if !fits || out_count < rows * columns || left_type != half || right_type != half {
            bail!("a product of other sizes or types than its memories have is a bug");
        }
        let at = |place: u64, matrix: &Matrix<'_, Memory>| place + (matrix.first * size_of::<bf16>()) as u64;
        let number = |count: usize| c_int::try_from(count).map_err(candle_core::Error::wrap);
        let operation = |matrix: &Matrix<'_, Memory>| match matrix.is_transposed {
            true => cublasOperation_t::CUBLAS_OP_T,
            false => cublasOperation_t::CUBLAS_OP_N,
        };
        let products = self.products()?;
        let (one, beta) = (1f32, if add { 1f32 } else { 0f32 });
        // Its matrices lie by columns, so it computes outᵀ = rightᵀ · leftᵀ.
        // SAFETY: the sizes are inside the memories, as checked above; the numbers are read before
        // the call returns.
        unsafe {
            cublas::gemm_ex(
                *products.handle(),
                operation(&right),
                operation(&left),
                number(columns)?,
                number(rows)?,
                number(inner)?,
                (&raw const one).cast(),
                at(right_at, &right) as *const _,
                half,
                number(right.stride)?,
                at(left_at, &left) as *const _,
                half,
                number(left.stride)?,
                (&raw const beta).cast(),
                out_at as *mut _,
                out_type,
                number(columns)?,
                cublasComputeType_t::CUBLAS_COMPUTE_32F,
                cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(candle_core::Error::wrap)
    }

    fn fetch(&self, memory: &Memory, count: usize) -> Result<Vec<f32>> {
        let numbers = match memory {
            Memory::Floats(memory) => self.stream.clone_dtoh(&memory.slice(..count)).w()?,
            Memory::Shared(tensor) => self.stream.clone_dtoh(&hold(tensor)?.slice(..count)).w()?,
            _ => bail!("numbers of another kind than f32 are a bug"),
        };
        self.settle()?;
        Ok(numbers)
    }

    fn settle(&self) -> Result<()> {
        self.stream.synchronize().w()
    }
}

/// A tensor's memory, for as long as nobody may change what the tensor is.
struct Held<Guard>(Guard);

fn hold(tensor: &Tensor) -> Result<Held<impl Deref<Target = Storage>>> {
    let (storage, layout) = tensor.storage_and_layout();
    let is_whole = match &*storage {
        Storage::Cuda(storage) => layout.contiguous_offsets() == Some((0, storage.as_cuda_slice::<f32>()?.len())),
        _ => false,
    };
    if !is_whole {
        bail!("a tensor that is not the whole of a memory of f32 on a GPU is a bug");
    }
    Ok(Held(storage))
}

impl<Guard: Deref<Target = Storage>> Deref for Held<Guard> {
    type Target = CudaSlice<f32>;

    fn deref(&self) -> &CudaSlice<f32> {
        match &*self.0 {
            Storage::Cuda(storage) => storage.as_cuda_slice::<f32>().expect("checked when it was made"),
            _ => unreachable!("checked when it was made"),
        }
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Gpu").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// Lets candle keep the memory that it frees, instead of giving it back to the driver whenever the
/// host waits for the device.
///
/// # Errors
/// Failures of the device.
pub fn keep_memory(device: &CudaDevice) -> Result<()> {
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
