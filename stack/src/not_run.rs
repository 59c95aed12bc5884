//! Tests that this machine cannot run say so.

use std::fmt::Display;
use std::io::Write;

use crate::Kafka;

/// Says that the calling test was skipped, and why. The line is written past the test runner, which
/// hides what a passing test prints; `.ci/run` names and counts such lines.
pub fn not_run(why: impl Display) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Where even this cannot be written, nothing can be said.
    let _ = writeln!(std::io::stderr(), "\nNOT RUN: {test}: {why}");
}

/// Whether tests with an Apache Kafka cannot run here, which is then said. Where
/// `LABELSTREAM_REQUIRE_KAFKA` is set, as in CI, they run, and fail.
pub fn kafka_cannot_run() -> bool {
    if std::env::var_os("LABELSTREAM_REQUIRE_KAFKA").is_some() {
        return false;
    }
    let missing = Kafka::missing().unwrap_or_else(|error| panic!("the machine can be looked at: {error:#}"));
    missing.inspect(|why| not_run(why)).is_some()
}
