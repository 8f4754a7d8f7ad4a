//! Reads and writes OpenAI's Responses API, for clients and for upstreams (openai-python 3.54.0,
//! `types/responses`, read 2026-11-23; Codex 0.169 bodies in the fixtures).

mod item;
pub(super) mod read_events;
pub(super) mod read_request;
pub(super) mod read_response;
pub(super) mod write_events;
pub(super) mod write_request;
pub(super) mod write_response;

pub(crate) use item::REASONING_ID_PREFIX;
