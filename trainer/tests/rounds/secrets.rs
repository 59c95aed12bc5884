//! Nothing that the trainer prints holds a secret.

#[test]
fn no_help_no_error_no_log_and_no_page_shows_a_secret() {
    harness::check_secrets_of_a_service(|| harness::command(env!("CARGO_BIN_EXE_trainer")));
}
