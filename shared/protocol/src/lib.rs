//! The protocols of clients and upstreams: parsing, metering and writing of their bytes.
//!
//! The crate reads as much of a request as a relay needs, meters answers while they pass, and
//! writes the answers that the relay itself gives. It does no I/O, reads no clock and is not async.

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
pub mod passed_request;
pub mod rate_limit_headers;
pub mod request_coding;
pub mod response_form;
pub mod route;
pub mod sse;
pub mod translate;
pub mod usage_chunk;
