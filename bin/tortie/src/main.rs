//! The tortie command.
fn main() {}
