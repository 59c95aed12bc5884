//! What the trainer logs, and how.

#[test]
fn the_log_has_one_variable_for_its_filter_and_one_for_its_format() {
    harness::check_log_variables(|| harness::command(env!("CARGO_BIN_EXE_trainer")));
}
