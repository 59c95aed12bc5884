//! From labeled texts to a classifier: reading and preparing data sets, the training loop, and what
//! it reached; and the service that makes people's labels a better champion.
//!
//! ```text
//! labeled_rows      a file -> texts with their labels
//! class_names       names of classes in flags and files, and labels written in several ways
//! prepare           raw rows -> cleaned, de-duplicated, stratified splits
//! dataset           rows -> examples of known classes
//!
//! base              where a training starts from
//! hyperparameters   how it learns: recorded, and the same when a run resumes
//! run_options       how it is carried out: threads, device, state
//! settings          both; flags: both, as a person gives them
//!
//! train             any base -> one of:
//!   linear            texts -> a linear classifier, in seconds
//!   fit               the training loop of a network
//!   from_scratch      a linear model, a student of a pretrained encoder, a network: the best
//! pretrained        an encoder and texts without labels -> a student, if it is no worse
//! embeddings        an encoder and texts -> vectors, kept
//! neighbours        vectors -> vectors that lean on those of texts like them
//! contrastive       an encoder and few labels -> the encoder, tuned on pairs of texts
//! unlabeled         texts without labels -> those that a training may read
//! teacher           a finished classifier and texts -> lessons: what it says, for a student
//! choice            which of two models goes on
//!
//! fit               is made of:
//!   start             base and data -> a model and tokenized samples
//!   batches           samples -> batches of similar length, in a seeded order
//!   progress          what happens -> those who watch
//!   gradient          a batch -> loss and gradients: on the CPU by backprop, on a GPU by
//!                     gpu_backprop or, where that cannot, the reference
//!   copies            this process -> others that train with it
//!   replicas          gradients of several processes -> their sum; replica: whose part is which
//!   training_state    gradients -> new weights: optimizer (AdamW), layers (their rates), average
//!   checkpoints       the best model, and the last few
//!   saved_state       what a killed run needs to go on; fingerprint: whether it is the same run
//!
//! evaluate          a classifier and examples -> metrics
//! warnings          what a person should know before trusting a training
//! report            a run -> a page with its curve and confusion matrix
//! tensorboard       a run -> an event file
//!
//! round_dataset     people's labels -> the dataset of a round
//! near_copies       which texts nearly copy which
//! cover             many texts -> few that stand for them, to be labeled first
//! second_opinion    labels -> what a linear model says of other texts
//! suspects          labels -> those that are probably wrong; agreement: of two who labeled one
//!                   text
//! picks             predictions -> the reviews that people should label next
//! audit             reviews drawn at random -> what a version is worth on the stream
//! drift             what a version sees -> whether the stream has changed
//! gate              models' answers on the same held-out texts -> a verdict with its numbers
//! service           what is due -> a round: round_dataset, linear and fit, gate, publishing
//! ```

mod class_names;
pub mod labeled_rows;
pub mod prepare;

pub mod dataset;

mod base;
mod precision;

pub mod flags;
#[cfg(any(test, feature = "cuda"))]
mod gpu_backprop;
mod hyperparameters;
mod run_options;
mod settings;

mod train;

mod choice;
mod contrastive;
mod embeddings;
mod from_scratch;
mod lessons;
pub mod linear;
mod neighbours;
mod pretrained;
mod teacher;
mod unlabeled;

pub mod fit;
mod progress;

mod start;

mod adam_factors;
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
mod step_kernels;
mod training_state;

mod checkpoints;
pub mod copies;
mod fingerprint;

mod evaluate;
pub mod metrics;
pub mod warnings;

pub mod report;
mod saved_state;
pub mod tensorboard;

pub mod near_copies;
pub mod round_dataset;

pub mod agreement;
pub mod audit;
mod cover;
pub mod drift;
pub mod picks;
mod second_opinion;
pub mod suspects;

pub mod gate;

pub mod service;

mod parallel;
mod random;

pub use base::Base;
pub use class_names::{ClassNames, class_names, refuse_alike_labels};
pub use dataset::{Dataset, Example, LabelMap};
pub use evaluate::evaluate;
pub use fit::{Summary, fit, follow};
pub use flags::TrainingFlags;
pub use hyperparameters::{ClassWeights, Hyperparameters};
pub use labeled_rows::{Columns, Row};
pub use lessons::{Distillation, Lessons};
pub use metrics::{BestBy, Evaluation};
pub use precision::ProductPrecision;
pub use pretrained::Pretrained;
pub use progress::{Head, Progress, Watch};
pub use replica::Replica;
pub use run_options::RunOptions;
pub use settings::Settings;
pub use teacher::Teacher;
pub use train::{Trained, train};
