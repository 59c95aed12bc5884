//! The broker: the only file of this crate that names rdkafka.
