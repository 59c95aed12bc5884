//! The servers that tests share. They end with the test process.

use std::sync::OnceLock;

use stack::{Kafka, Postgres};

/// The broker that tests share.
pub fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(own_kafka)
}

/// A broker for a test that stops it. Where none can run, the whole test process ends here, and
/// says so; with `LABELSTREAM_REQUIRE_KAFKA` set, as in CI, it fails.
pub fn own_kafka() -> Kafka {
    own_cluster(1)
}

/// The same with so many brokers, and a replica of every partition on each.
pub fn own_cluster(brokers: u32) -> Kafka {
    if stack::kafka_cannot_run() {
        std::process::exit(0);
    }
    Kafka::start_cluster(brokers).expect("Apache Kafka starts")
}

/// The database server that tests share.
pub fn postgres() -> &'static Postgres {
    static POSTGRES: OnceLock<Postgres> = OnceLock::new();
    POSTGRES.get_or_init(|| Postgres::start().expect("Postgres starts"))
}
