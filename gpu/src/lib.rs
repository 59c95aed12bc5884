//! What our kernels for GPUs stand on: a device behind a seam, and for tests a CPU in its place.
//!
//! A [`Chip`] has memory, starts kernels and multiplies matrices. `Gpu` (feature `cuda`) is the
//! real one; `Emulator` (feature `emulator`) compiles the same kernels with a C++ compiler and
//! runs them on the CPU, where an index beyond a memory, a missing barrier or an argument of another
//! kind shows.

mod chip;
#[cfg(feature = "emulator")]
mod compiled;
mod context;
#[cfg(feature = "cuda")]
mod device;
#[cfg(feature = "emulator")]
mod emulator;
mod failure;
mod kernels;
#[cfg(feature = "cuda")]
mod ptx;

pub use chip::{Argument, Chip, Epilogue, Grid, Kind, Linear, Matrix, Numbers};
#[cfg(feature = "emulator")]
pub use compiled::assert_compile;
pub use context::enter;
#[cfg(feature = "cuda")]
pub use device::{Gpu, Memory, keep_memory};
#[cfg(feature = "emulator")]
pub use emulator::Emulator;
pub use failure::explain;
pub use kernels::{COMMON, Kernels, WARP, attention, rows, threads};
