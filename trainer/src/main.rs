//! The trainer service.

use std::process::ExitCode;

use service::Kind;

fn main() -> ExitCode {
    service::main(|_| Kind::Service, trainer::service::run)
}
