//! From labeled texts to a classifier: reading and preparing data sets, the training loop, and what it reached; and the
//! service that makes people's labels a better champion.
//!
//! ```text
//! dataset     CSV rows -> examples of known classes
//! prepare     raw rows -> cleaned, de-duplicated, stratified splits
//! settings    every hyper-parameter, with its reason
//! fresh       any base -> `fit`, or without a pretrained one the better of it and:
//! linear      texts -> a linear classifier, in seconds
//! fit         the training loop, over:
//!   start       base and data -> a model and tokenized samples
//!   batches     samples -> batches of similar length, in a seeded order
//!   gradient    a batch -> loss and gradients: on the CPU by backprop, one thread a core; on a GPU by the reference
//!   replicas    gradients of several processes -> their sum
//!   training_state  gradients -> new weights: optimizer (AdamW), layers (which learn how fast), average
//!   checkpoints the best model, and the last few
//!   saved_state what a run needs to go on after it was killed
//! evaluate    a classifier and examples -> metrics
//! report      what happens in a run -> a page with its curve and confusion matrix; tensorboard -> an event file
//!
//! labeled     people's labels -> the dataset of a round, over near_copies: which texts nearly copy which
//! gate        several models' answers on the same held-out texts -> a verdict with its numbers
//! service     what is due -> a round: labeled, fresh, gate, and the candidate published
//! ```

pub mod dataset;
pub mod prepare;
pub mod settings;

pub mod labeled;
pub mod near_copies;

pub mod gate;

pub mod service;

mod fresh;
pub mod linear;

pub mod fit;

mod start;

mod average;
mod backprop;
mod batches;
mod gradient;
mod layers;
mod loss;
mod optimizer;
mod replica;
mod replicas;
pub mod schedule;
mod training_state;

mod checkpoints;
mod evaluate;
mod fingerprint;
pub mod metrics;

pub mod report;
mod saved_state;
pub mod tensorboard;

mod parallel;
mod random;

pub use dataset::{Columns, Dataset, Example, Row};
pub use evaluate::evaluate;
pub use fit::{Head, Progress, Summary, Watch, fit, follow};
pub use fresh::{Trained, train};
pub use metrics::{BestBy, Evaluation};
pub use replica::Replica;
pub use settings::{Base, ClassWeights, ProductPrecision, Settings};
