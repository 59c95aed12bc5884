//! What the forward pass asks of a device.

use std::fmt::Debug;

use candle_core::Result;
use half::bf16;

/// What the forward pass needs of a device. Everything is done in the order of the calls; only
/// [`fetch`](Self::fetch) and [`settle`](Self::settle) wait for it.
pub(super) trait Chip: Debug {
    /// Numbers on the device.
    type Memory: Debug;

    /// Memory with these numbers in it.
    fn upload(&self, numbers: Numbers) -> Result<Self::Memory>;

    /// Writes words to the start of a memory of words, while the device may still be at work on
    /// earlier ones.
    fn send(&mut self, words: &[u32], to: &mut Self::Memory) -> Result<()>;

    /// Starts a kernel of `kernels.cu`, with the arguments that it declares.
    fn launch(&self, kernel: &'static str, grid: Grid, arguments: &[Argument<'_, Self::Memory>]) -> Result<()>;

    /// `out = epilogue(x · weightᵀ + bias)` for so many rows of `x`, rounded to bf16.
    fn multiply(
        &self,
        x: &Self::Memory,
        rows: usize,
        linear: &Linear<Self::Memory>,
        epilogue: Epilogue,
        out: &mut Self::Memory,
    ) -> Result<()>;

    /// The first `count` numbers of a memory of f32, when everything before is done.
    fn fetch(&self, memory: &Self::Memory, count: usize) -> Result<Vec<f32>>;

    /// Waits until everything is done.
    fn settle(&self) -> Result<()>;
}

/// Numbers on their way to the device.
#[derive(Clone, Debug)]
pub(super) enum Numbers {
    Halves(Vec<bf16>),
    Floats(Vec<f32>),
    Words(Vec<u32>),
}

/// An argument of a kernel.
pub(super) enum Argument<'a, M> {
    Memory(&'a M),
    Count(usize),
    Number(f32),
}

/// How many threads of a kernel there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Along x and y.
    pub blocks: (usize, usize),
    /// Of each block.
    pub threads: usize,
}

/// What happens to a product and its bias before they are stored. The exact GELU is a kernel:
/// cublasLt has the tanh form alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Epilogue {
    Nothing,
    Relu,
    TanhGelu,
}

/// A linear layer on the device.
#[derive(Debug)]
pub(super) struct Linear<M> {
    /// bf16, (outputs, inputs)
    pub weight: M,
    /// bf16, (outputs)
    pub bias: M,
    pub inputs: usize,
    pub outputs: usize,
}
