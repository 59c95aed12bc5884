//! The programs under test, as real processes.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A command that runs one of the workspace's programs.
pub fn program(name: &str) -> Command {
    harness::command(directory().join(name))
}

/// Runs `labelstream` to its end.
pub fn labelstream(arguments: &[&str]) -> Output {
    program("labelstream").args(arguments).output().expect("labelstream can be run")
}

/// Where cargo puts the programs: above the `deps` that this test binary lies in. Testing a package
/// does not build the programs of others, so they are built here, once: as `cargo test --workspace`
/// builds them, after which nothing is left to do.
///
/// `LABELSTREAM_PROGRAMS` names a directory of programs that are tested as they are: for long runs,
/// in which the next build is not to replace them.
fn directory() -> &'static PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        if let Some(programs) = env::var_os("LABELSTREAM_PROGRAMS") {
            return programs.into();
        }
        let test = env::current_exe().expect("a running program knows its file");
        let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST").to_owned();
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["test", "--quiet", "--workspace", "--no-run", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
        build.arg("--target-dir").arg(profile.parent().expect("target/PROFILE"));
        // What cargo tells a test of its package would look to build scripts like another
        // environment to build for.
        for (variable, _) in env::vars_os() {
            let name = variable.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&variable);
            }
        }
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let built = build.output().expect("cargo can be run");
        assert!(built.status.success(), "the programs do not build:\n{}", String::from_utf8_lossy(&built.stderr));
        profile
    })
}
