//! The consumer service: parse, trace, build, run.

use clap::Parser;

fn main() {
    let _ = consumer::Config::parse();
}
