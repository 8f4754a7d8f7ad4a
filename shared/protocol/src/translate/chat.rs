//! Reads and writes OpenAI's Chat Completions API as its many vendors implement it (openai-python
//! 3.54.0, `types/chat`, read 2026-11-23). DeepSeek calls thinking `reasoning_content`; newer
//! `vLLM` and OpenRouter call it `reasoning`.

mod call_list;
mod part_sequence;
pub(super) mod read_request;
pub(super) mod read_response;
pub(super) mod write_request;
pub(super) mod write_response;

pub(super) use part_sequence::is_cut_object;
