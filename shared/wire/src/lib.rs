//! What is spoken: bytes in, values out.
//!
//! Requests are read as far as a relay must, answers are metered while they pass, and what the
//! relay says itself is written here. No I/O, no clock, no async.

pub mod bedrock;
pub mod body_form;
pub mod conversation_hash;
pub mod cost_scan;
pub mod envelope;
pub mod error;
pub mod gzip;
pub mod headers;
pub mod json;
pub mod meter;
pub mod model_path;
pub mod rate_limit_headers;
pub mod route;
pub mod sse;
pub mod translate;
pub mod usage_chunk;
