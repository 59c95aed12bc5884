//! Nothing that a command prints holds a secret.

use crate::program::labelstream;

#[test]
fn no_help_and_no_error_of_any_command_shows_a_secret() {
    harness::check_secrets(|| {
        let mut program = labelstream(&[]);
        program.env("LABELSTREAM_BROKERS", "127.0.0.1:1").env("LABELSTREAM_CHECKPOINTS", "s3://bucket/prefix");
        program
    });
}
