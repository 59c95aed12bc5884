//! Kafka to predictions in Postgres.
//!
//! The files are the way of a review: `kafka` polls and claims, `message` decodes, `batch` gathers,
//! `tokenize` makes ids, `inference` classifies, `persist` writes. Stages are joined by channels of
//! one batch, so a slow database is felt by Kafka as paused partitions and never as memory. Around
//! them: `reload` brings the champion, `http` answers, `metrics` counts, `health` knows what works.

mod careful;
mod config;

mod kafka;
mod message;

mod batch;
mod batch_sender;
mod batch_size;

mod tokenize;

mod answer_cache;
mod bisect;
mod in_flight;
mod inference;
mod model;
mod predict;
mod turns;

mod golden;
mod load;
mod reload;

mod persist;
mod shadow;

mod newest_reviews;

mod health;
mod http;
mod metrics;
mod run;

pub use config::{Config, OnGap, Start};
pub use message::{Reason, review};
pub use model::{Constant, Encoder, Model, ModelSource, Scores};
pub use newest_reviews::newest_reviews;
pub use run::run;
