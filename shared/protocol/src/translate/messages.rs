//! Reads and writes Anthropic's Messages API (anthropic-python 2.12.0,
//! `types/message_create_params.py`, `Message` and `RawMessageStreamEvent`, read 2026-11-23).

mod client_tools;
pub(super) mod read_request;
pub(super) mod read_response;
pub(super) mod write_request;
pub(super) mod write_response;

pub(crate) use write_request::sanitize_id;
