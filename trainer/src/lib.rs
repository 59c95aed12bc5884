//! From labeled texts to a classifier: reading and preparing data sets, the training loop, and what it reached.
//!
//! ```text
//! dataset   CSV rows -> examples of known classes
//! prepare   raw rows -> cleaned, de-duplicated, stratified splits
//! settings  every hyper-parameter, with its reason
//! batches   tokenized examples -> batches of similar length, in a seeded order
//! schedule  step -> learning rate
//! gradient  a batch -> loss and gradients, one thread a core
//! optimizer gradients -> new weights (AdamW)
//! fit       the training loop
//! metrics   predictions -> accuracy, macro-F1, confusion matrix
//! ```

mod batches;
mod checkpoints;
pub mod dataset;
pub mod evaluate;
pub mod fit;
mod gradient;
pub mod metrics;
mod optimizer;
mod parallel;
pub mod prepare;
mod random;
pub mod schedule;
pub mod settings;
mod start;

pub use dataset::{Columns, Dataset, Example, Row};
pub use evaluate::evaluate;
pub use fit::{Head, Progress, Summary, fit};
pub use metrics::Evaluation;
pub use settings::{Base, BestBy, Settings};
