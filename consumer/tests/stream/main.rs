//! The consumer as a library, against a real Postgres and librdkafka's own cluster.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod broken_models;
mod brokers;
mod corrupt;
mod crashes;
mod ends;
mod families;
mod halts;
mod log;
mod lost_checkpoints;
mod members;
mod outages;
mod predict;
mod refusals;
mod rows;
mod secrets;
mod security;
mod shadows;
mod site;
mod swaps;
mod world;
