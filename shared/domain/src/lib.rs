//! What is true: plain types and pure functions, without I/O, clock or floats.

#![deny(clippy::float_arithmetic)]

pub mod model;
pub mod money;
pub mod price;
pub mod usage;
