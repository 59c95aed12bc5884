//! What a model is: text in, labels out; checkpoints on disk.
//!
//! A [`Classifier`] opens a HuggingFace BERT directory, or one of the [`linear`] kind, and labels texts on all cores. The [`model`] module holds the same
//! network as a differentiable function of its [`Parameters`](model::Parameters), for training; [`checkpoint`] reads and
//! writes the directories that both share with transformers.
//!
//! Nothing here knows of Kafka, SQL, time or the environment.

mod classify;
#[cfg(any(test, feature = "cuda"))]
mod cuda;
mod device;
mod engine;
mod kernels;
mod labels;
mod parallel;
mod precision;

pub mod checkpoint;
pub mod linear;
pub mod model;
mod ops;
pub mod tokenizer;

pub use candle_core::Device;
pub use checkpoint::CheckpointError;
pub use classify::{Classifier, ModelKind, Prediction, TextEncoder};
pub use device::{DeviceChoice, UnknownDevice};
pub use kernels::{Instructions, UnknownInstructions};
pub use labels::Labels;
pub use parallel::peak_operations;
pub use precision::{Precision, UnknownPrecision};
pub use tokenizer::Tokenizer;
