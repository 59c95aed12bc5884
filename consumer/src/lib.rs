//! Kafka to predictions in Postgres.
//!
//! The files are the way of a review: `kafka` polls and claims, `message` decodes, `batch` gathers, `tokenize` makes ids,
//! `inference` classifies, `persist` writes. Stages are joined by channels of one batch, so a slow database is felt by Kafka as
//! paused partitions and never as memory. Around them: `reload` brings the champion, `http` answers, `metrics` counts,
//! `health` knows what works.

mod config;

mod kafka;
mod message;

mod batch;
mod outlet;

mod tokenize;

mod bisect;
mod inference;
mod model;
mod pace;

mod reload;
mod remember;
mod source;

mod golden;

mod persist;

mod backoff;
mod health;
mod http;
mod metrics;
mod run;
mod thread;

pub use config::{Config, KafkaProperty, OnGap, Start};
pub use message::Reason;
pub use model::{Constant, Encode, Encoder, Model, ModelSource};
pub use run::run;
