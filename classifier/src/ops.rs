//! The operations that BERT is made of, each differentiable.
//!
//! On the CPU they are loops over slices, fused where that saves passes over memory, each with its backward pass beside it:
//! what the [encoder](crate::model::Encoder) learns with. As nodes of candle's [`graph`] they are [`composed`] of candle's own
//! operations on other devices, which is also the reference that the tests compare the fused ones with.

mod activation;
mod attention;
mod composed;
mod dropout;
pub(crate) mod graph;
mod linear;
mod lookup;
mod norm;
mod pool;
mod rows;
#[cfg(test)]
mod tests;
mod texts;
mod values;

pub(crate) use activation::{activate, activate_backward};
pub(crate) use attention::{Attention, Operands};
pub(crate) use dropout::{Mask, drop_out};
pub(crate) use linear::{OutputRows, add_to, linear, linear_backward};
pub(crate) use lookup::{lookup, lookup_backward};
pub(crate) use norm::{Affine, Branch, Normal, add_norm, add_norm_backward};
pub(crate) use pool::{attention_pool, max_pool, mean_pool};
pub(crate) use rows::Rows;
pub(crate) use texts::Texts;
pub(crate) use values::read;
