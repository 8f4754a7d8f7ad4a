//! Anthropic's Messages API (anthropic-python 2.12.0, `types/message_create_params.py`, `Message`
//! and `RawMessageStreamEvent`, read 2026-11-23), read and written.

pub(super) mod answer_in;
pub(super) mod answer_out;
pub(super) mod ask_in;
pub(super) mod ask_out;
mod model;
