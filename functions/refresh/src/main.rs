//! refresh on Lambda.
fn main() {}
