//! relay on Lambda.
fn main() {}
