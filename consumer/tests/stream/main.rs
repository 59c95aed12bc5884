//! The consumer as a library, against a real Postgres and librdkafka's own cluster.

mod broken_models;
mod outages;
mod predict;
mod rows;
mod world;
