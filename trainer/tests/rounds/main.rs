//! The trainer as an operator runs it, against a real Postgres and real labels.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod site;

mod faults;
mod kills;
mod log;
mod outages;
mod secrets;
mod service;
mod verdicts;
