//! OpenAI's Chat Completions API, as its many vendors speak it (openai-python 3.54.0,
//! `types/chat`, read 2026-11-23; `reasoning_content` is the word of `DeepSeek`,
//! `reasoning` that of newer `vLLM` and `OpenRouter`), read and written.

pub(super) mod answer_in;
pub(super) mod answer_out;
pub(super) mod ask_in;
pub(super) mod ask_out;
mod sequence;
