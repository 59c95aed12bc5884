//! What consumer, trainer and `labelstream` share: how a program starts and ends, how it reaches
//! Kafka, Postgres and the checkpoint store, and how it waits for what is away.

// From the command line to the exit code.
mod arguments;
mod candle;
mod log;
mod signals;
mod start;

pub use arguments::{command, defaults};
pub use start::{Kind, interrupted, main};

// Where things are: one struct of flags for each concern.
mod database;
pub mod directories;
pub mod duration;
mod kafka;
mod secret;
mod share;

pub use database::DatabaseArguments;
pub use directories::{CacheArguments, CheckpointArguments};
pub use kafka::{KafkaArguments, KafkaProperty, KafkaSettings};
pub use secret::Secret;
pub use share::{share, share_or_none};

// Checkpoints: out of the store, and into it.
pub mod checkpoint;
mod register;

pub use register::{Registered, promote_over_the_champion, register};

#[cfg(feature = "kafka")]
pub mod broker;
#[cfg(feature = "kafka")]
mod complaint;

#[cfg(feature = "kafka")]
pub use complaint::Complaints;

// Work that goes on.
pub mod http;
mod owner;
mod retry;
mod thread;

pub use owner::owner;
pub use retry::{Backoff, Transient, retry};
pub use thread::thread;
