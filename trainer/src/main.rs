//! The trainer service.

use std::process::ExitCode;

use service::Kind;

fn main() -> ExitCode {
    service::main(Kind::Service, trainer::service::run)
}
