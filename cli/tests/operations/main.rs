//! The program as a person runs it, against a real Postgres and the in-process broker.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bench;
mod doctor;
mod drift;
mod labeling;
mod labels;
mod models;
mod page;
mod positions;
mod rescore;
mod rounds;
mod secrets;
mod start;
mod stream;

mod program;
