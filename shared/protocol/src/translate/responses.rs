//! Reads requests and writes answers of OpenAI's Responses API for clients (openai-python 3.54.0,
//! `types/responses`, read 2026-11-23; Codex 0.169 bodies in the fixtures).

mod item;
pub(super) mod read_request;
pub(super) mod write_events;
pub(super) mod write_response;
