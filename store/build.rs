//! A new migration is a new build: the macro that embeds them sees changed files, not new ones.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
