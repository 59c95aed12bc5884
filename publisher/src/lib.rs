//! What goes in by hand, for the command line and the benchmarks: records into Kafka, and a checkpoint directory into the
//! checkpoint store and the registry.

pub mod kafka;

mod register;

pub use register::{promote_over_the_champion, register};
