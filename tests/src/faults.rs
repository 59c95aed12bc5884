//! Faults, each injected on a real Apache Kafka and a real Postgres under a running consumer, and
//! checked record by record. `bench/faults.md` is the table of all of them, with the number that
//! each has there; other modules beside this one hold the tests of some.
//!
//! One `mod` line a group.

mod brokers;
mod clocks;
mod commits;
mod contents;
mod failover;
mod groups;
mod memory;
mod stops;
