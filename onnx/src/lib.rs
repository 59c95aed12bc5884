//! Classifiers as ONNX files, and weights of ONNX files as checkpoint directories.
//!
//! [`export()`] writes the graph of a network or of a linear model, which ONNX Runtime computes to
//! the same scores; [`import()`] reads the weights of a BERT that another exporter has written.

mod export;
mod graph;
mod import;
mod linear;
mod network;
mod proto;
mod rounding;

pub use export::{Exported, export};
pub use import::{Imported, import};
pub use rounding::Weights;
