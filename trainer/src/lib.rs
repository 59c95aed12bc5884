//! From labeled texts to a classifier: reading and preparing data sets, the training loop, and what it reached.
//!
//! ```text
//! dataset     CSV rows -> examples of known classes
//! prepare     raw rows -> cleaned, de-duplicated, stratified splits
//! settings    every hyper-parameter, with its reason
//! fit         the training loop, over:
//!   start       base and data -> a model and tokenized samples
//!   batches     samples -> batches of similar length, in a seeded order
//!   gradient    a batch -> loss and gradients, one thread a core
//!   optimizer   gradients -> new weights (AdamW), at the rate of the schedule
//!   checkpoints the best model, and the last few
//! evaluate    a classifier and examples -> metrics
//! ```

pub mod dataset;
pub mod prepare;
pub mod settings;

pub mod fit;

mod start;

mod batches;
mod gradient;
mod optimizer;
pub mod schedule;

mod checkpoints;
mod evaluate;
pub mod metrics;

mod parallel;
mod random;

pub use dataset::{Columns, Dataset, Example, Row};
pub use evaluate::evaluate;
pub use fit::{Head, Progress, Summary, fit};
pub use metrics::Evaluation;
pub use settings::{Base, BestBy, Settings};
