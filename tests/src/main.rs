//! The whole system against a real Apache Kafka and a real Postgres: services as processes, checked
//! record by record.

mod harness;

mod bad_records;
mod gaps;
mod http;
mod kills;
mod learning;
mod outages;
mod startup;
mod stream;
mod swap;
mod workflow;
