//! The training loop on tasks that are small enough to learn in seconds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod task;

mod evaluations;
mod families;
mod learning;
mod replicas;
mod resuming;
mod teacher;
