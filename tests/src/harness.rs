//! What the tests stand on: the servers, the programs, a place of its own for each test.

mod model;
mod process;
mod programs;
mod records;
mod site;

pub use model::{TINY_LABELS, save_tiny_model};
pub use process::Service;
pub use programs::labelstream;
pub use records::{Expect, Message, Sent, Topic, publish_steadily};
pub use site::Site;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use stack::{Kafka, Postgres};

/// How long anything may take that takes a second on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The broker that tests share. It ends with this process.
pub fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(own_kafka)
}

/// A broker for a test that stops it.
pub fn own_kafka() -> Kafka {
    end_where_kafka_cannot_run();
    Kafka::start().expect("Apache Kafka starts")
}

/// A machine without Java runs none of these tests, and says so; with `LABELSTREAM_REQUIRE_KAFKA`
/// set, as in CI, it fails.
fn end_where_kafka_cannot_run() {
    if stack::kafka_cannot_run() {
        std::process::exit(0);
    }
}

/// The database server that tests share. It ends with this process.
pub fn postgres() -> &'static Postgres {
    static POSTGRES: OnceLock<Postgres> = OnceLock::new();
    POSTGRES.get_or_init(|| Postgres::start().expect("Postgres starts"))
}

/// Asks until the answer is yes; fails the test, naming what it waited for, after [`PATIENCE`].
pub async fn until(what: &str, done: impl AsyncFnMut() -> bool) {
    until_within(PATIENCE, what, done).await;
}

/// The same with another limit.
pub async fn until_within(limit: Duration, what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done().await {
        assert!(Instant::now() < deadline, "waited {} s in vain for {what}", limit.as_secs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
