//! Files that are not as they were written.

use std::fs;
use std::path::Path;

/// Flips one bit in the middle of a file; once more, and the file is as before.
pub fn flip_a_bit(file: &Path) {
    let mut bytes = fs::read(file).expect("the file can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).expect("the file can be written");
}
