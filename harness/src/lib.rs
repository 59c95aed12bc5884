//! What tests of several crates stand on: servers that tests share, a database and a checkpoint
//! store for each test, models small enough to wait for, services as processes. What is not as it
//! should be fails the calling test.

mod damage;
mod http;
mod log_variables;
mod process;
mod proxy;
mod registry;
mod secrets;
mod secure_kafka;
mod servers;
mod stand_in;
mod storage;
mod tiny_model;
mod until;

pub use damage::flip_a_bit;
pub use http::Http;
pub use log_variables::check_log_variables;
pub use process::{Process, Signal, command};
pub use proxy::{Cut, Proxy};
pub use secrets::{check_secrets, check_secrets_of_a_service};
pub use secure_kafka::SecureKafka;
pub use servers::{kafka, own_cluster, own_kafka, postgres};
pub use stand_in::{DeviceReport, StandIn};
pub use storage::Storage;
pub use tiny_model::{TINY_CLASSES, save_tiny_model};
pub use until::{PATIENCE, until, until_some};
