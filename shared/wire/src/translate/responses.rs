//! OpenAI's Responses API for clients (openai-python 3.54.0, `types/responses`, read 2026-11-23;
//! Codex 0.169 bodies in the fixtures): requests read, answers written.

pub(super) mod answer_out;
pub(super) mod ask_in;
pub(super) mod events;
mod item;
