//! admin on Lambda.
fn main() {}
