//! A private Kafka and Postgres on this machine, for the demo and the tests, and a disk that can be
//! full.
//!
//! Every server here is a real one (or, for [`InProcessKafka`], librdkafka's own cluster) that
//! listens on 127.0.0.1 only, keeps its files in a temporary directory, and ends with the process
//! that started it, however that process ends. The functions block: async code calls them from a
//! blocking thread.

mod certificates;
mod disk;
mod in_process;
mod kafka;
mod machine;
mod not_run;
mod postgres;
mod server;

pub use certificates::Certificates;
pub use disk::SmallDisk;
pub use in_process::{Fault, InProcessKafka};
pub use kafka::{Broker, Kafka, Listener};
pub use machine::free_port;
pub use not_run::{kafka_cannot_run, not_run};
pub use postgres::Postgres;
