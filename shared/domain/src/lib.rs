//! What is true: plain types and pure functions, without I/O, clock or floats.
