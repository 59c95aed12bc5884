//! What our kernels ask of a device.

use std::fmt::Debug;

use candle_core::{Result, Tensor};
use half::bf16;

/// What our kernels need of a device. Everything is done in the order of the calls; only
/// [`fetch`](Self::fetch) and [`settle`](Self::settle) wait for it. A memory that is passed by `&`
/// to [`launch`](Self::launch) and [`product`](Self::product) may be written all the same.
pub trait Chip: Debug {
    /// Numbers on the device.
    type Memory: Debug;

    /// Memory with these numbers in it.
    ///
    /// # Errors
    /// Failures of the device, as in every other call.
    fn upload(&self, numbers: Numbers) -> Result<Self::Memory>;

    /// Memory of so many zeros.
    ///
    /// # Errors
    /// No memory.
    fn zeros(&self, kind: Kind, count: usize) -> Result<Self::Memory>;

    /// The memory that a contiguous f32 tensor has on this device, which it goes on having.
    ///
    /// # Errors
    /// A tensor of another type or device.
    fn share(&self, tensor: &Tensor) -> Result<Self::Memory>;

    /// Writes words to the start of a memory of words, while the device may still be at work on
    /// earlier ones.
    ///
    /// # Errors
    /// Failures of the device.
    fn send(&mut self, words: &[u32], to: &mut Self::Memory) -> Result<()>;

    /// Starts a kernel, with the arguments that it declares.
    ///
    /// # Errors
    /// A number beyond what an argument holds.
    fn launch(&self, kernel: &'static str, grid: Grid, arguments: &[Argument<'_, Self::Memory>]) -> Result<()>;

    /// `out = epilogue(x · weightᵀ + bias)` for so many rows of `x`, rounded to bf16.
    ///
    /// # Errors
    /// Memory of another kind or of fewer numbers.
    fn multiply(
        &self,
        x: &Self::Memory,
        rows: usize,
        linear: &Linear<Self::Memory>,
        epilogue: Epilogue,
        out: &mut Self::Memory,
    ) -> Result<()>;

    /// `out = left · right`, or with `add` that added to what is there; summed in f32, and rounded
    /// where `out` is bf16.
    ///
    /// # Errors
    /// Memory of another kind or of fewer numbers.
    fn product(
        &self,
        left: Matrix<'_, Self::Memory>,
        right: Matrix<'_, Self::Memory>,
        out: &Self::Memory,
        add: bool,
    ) -> Result<()>;

    /// The first `count` numbers of a memory of f32, when everything before is done.
    ///
    /// # Errors
    /// Memory of another kind.
    fn fetch(&self, memory: &Self::Memory, count: usize) -> Result<Vec<f32>>;

    /// Waits until everything is done.
    ///
    /// # Errors
    /// What has failed since.
    fn settle(&self) -> Result<()>;
}

/// Numbers on their way to the device.
#[derive(Clone, Debug)]
pub enum Numbers {
    /// bf16
    Halves(Vec<bf16>),
    /// f32
    Floats(Vec<f32>),
    /// u32
    Words(Vec<u32>),
}

/// A type of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// bf16
    Halves,
    /// f32
    Floats,
    /// u32
    Words,
}

/// An argument of a kernel.
pub enum Argument<'a, M> {
    /// A pointer.
    Memory(&'a M),
    /// An int.
    Count(usize),
    /// An unsigned int.
    Bits(u32),
    /// A float.
    Number(f32),
}

/// How many threads of a kernel there are.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Along x and y.
    pub blocks: (usize, usize),
    /// Of each block.
    pub threads: usize,
}

/// What happens to a product and its bias before they are stored. The exact GELU is a kernel:
/// cublasLt has the tanh form alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// Nothing.
    Nothing,
    /// max(x, 0)
    Relu,
    /// GELU by its tanh approximation.
    TanhGelu,
}

/// A linear layer on the device.
#[derive(Debug)]
pub struct Linear<M> {
    /// bf16, (outputs, inputs)
    pub weight: M,
    /// bf16, (outputs)
    pub bias: M,
    /// Numbers of a row that goes in.
    pub inputs: usize,
    /// Numbers of a row that comes out.
    pub outputs: usize,
}

/// A matrix of bf16 in a memory, row by row.
#[derive(Debug)]
pub struct Matrix<'a, M> {
    /// Where it lies.
    pub memory: &'a M,
    /// Its first number there.
    pub first: usize,
    /// Its rows there.
    pub rows: usize,
    /// Its columns there.
    pub columns: usize,
    /// Numbers from one row to the next.
    pub stride: usize,
    /// Whether its transpose is meant.
    pub is_transposed: bool,
}

impl<M> Clone for Argument<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Argument<'_, M> {}

impl<M> Clone for Matrix<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Matrix<'_, M> {}

impl<'a, M> Matrix<'a, M> {
    /// All rows from the start of a memory.
    pub fn new(memory: &'a M, rows: usize, columns: usize) -> Self {
        Self { memory, first: 0, rows, columns, stride: columns, is_transposed: false }
    }

    /// Some of its columns.
    pub fn columns(self, first: usize, columns: usize) -> Self {
        Self { first: self.first + first, columns, ..self }
    }

    /// Its transpose.
    pub fn transposed(self) -> Self {
        Self { is_transposed: !self.is_transposed, ..self }
    }

    /// Rows and columns of what is meant.
    pub fn size(&self) -> (usize, usize) {
        if self.is_transposed { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }

    /// The numbers that the memory has at least.
    pub fn end(&self) -> usize {
        if self.rows == 0 { self.first } else { self.first + (self.rows - 1) * self.stride + self.columns }
    }
}
