//! OpenAI's Chat Completions API, as its many vendors speak it (openai-python 3.54.0,
//! `types/chat`, read 2026-11-23; `reasoning_content` is the word of `DeepSeek`,
//! `reasoning` that of newer `vLLM` and `OpenRouter`), read and written.

mod part_sequence;
pub(super) mod read_request;
pub(super) mod read_response;
pub(super) mod write_request;
pub(super) mod write_response;
