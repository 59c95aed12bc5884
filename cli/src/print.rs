//! Standard output: what all commands share.

use std::panic;

/// Ends the program without a word when the reader of its output has gone (`labelstream ... | head`),
/// where the standard library's print macros would panic.
pub fn end_quietly_on_a_broken_pipe() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|text| text.contains("Broken pipe")) {
            // As a shell reports a program that SIGPIPE ended.
            std::process::exit(141);
        }
        usual(panic);
    }));
}
