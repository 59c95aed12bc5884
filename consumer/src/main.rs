//! The consumer service.

use std::process::ExitCode;

use consumer::{Config, ModelSource};
use service::Kind;

fn main() -> ExitCode {
    service::main(|_| Kind::Service, |config: Config, shutdown| consumer::run(config, ModelSource::Registry, shutdown))
}
