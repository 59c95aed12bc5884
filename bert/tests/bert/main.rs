//! The reference and the tokenizer, tested from outside: one binary, because each costs a link.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cases;
mod fixtures;
mod gradients;
mod transformers;
