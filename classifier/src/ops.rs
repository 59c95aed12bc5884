//! ops
pub(crate) use dropout::Mask;
mod dropout;
