//! stats on Lambda.
fn main() {}
