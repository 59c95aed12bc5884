//! The whole system against a real Apache Kafka and a real Postgres: services as processes, checked
//! record by record.

mod bad_records;
mod faults;
mod gaps;
mod gpu;
mod http;
mod kills;
mod learning;
mod outages;
mod programs;
mod records;
mod site;
mod startup;
mod stream;
mod swap;
mod workflow;
