//! The `samara` command.
fn main() {}
