//! Nothing that the consumer prints holds a secret.

#[test]
fn no_help_no_error_no_log_and_no_page_shows_a_secret() {
    harness::check_secrets_of_a_service(|| {
        let mut consumer = harness::command(env!("CARGO_BIN_EXE_consumer"));
        consumer.env("LABELSTREAM_BROKERS", "127.0.0.1:1");
        consumer
    });
}
