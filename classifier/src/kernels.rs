//! The arithmetic of the CPU, on slices and on one thread: what training's operations and the inference engine share.
//!
//! This is the only place of the crate with `unsafe` in it.

mod activation;
mod machine;
mod numbers;
mod product;
mod rows;

pub(crate) use activation::{gate, gelu, gelu_new, normal, relu};
pub(crate) use machine::vectorised;
#[cfg(target_arch = "x86_64")]
pub(crate) use machine::{Avx2, Avx512};
pub(crate) use numbers::{exp, sum_of};
pub(crate) use product::{Matrix, Output, multiply};
pub(crate) use rows::{moments, softmax};
