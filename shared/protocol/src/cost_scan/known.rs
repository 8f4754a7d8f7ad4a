//! The fields, items, blocks and tools that each protocol documents, grouped by their effect on the
//! cost. Anything that is on none of these lists can cost any amount.
//!
//! Sources, read 2026-11-28: the parameter types of the Python SDKs `anthropic` 2.14.0 (Messages
//! and their beta), `openai` 3.57.0 (Chat Completions, Responses and their beta), `mistralai` 3.7.0
//! and `groq` 1.7.0; OpenRouter's page on parameters; Amazon's page on Anthropic's models in
//! `InvokeModel`; recorded requests of Claude Code 2.1.330 (`safeguards`) and Codex 0.169.0
//! (`client_metadata`).

use super::UpstreamProtocol;
use crate::envelope::is_confusable;

/// How a top-level field is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldKind {
    /// Part of the prompt.
    Prompt,
    /// The list of tools.
    Tools,
    /// A setting that affects the cost of the request.
    Setting,
    /// The field names models, one of which answers the request.
    Models,
    /// The field has no effect on the cost, except for models that an object in it names.
    Harmless,
    /// The client chooses the content of the field, and no server acts on it.
    FreeForm,
    /// A server that compares names less strictly would read the field as this setting.
    Alike(&'static str),
    /// No API documents the field, or its highest cost is not known.
    Unknown,
}

impl FieldKind {
    pub(super) fn from_name(body_protocol: UpstreamProtocol, name: &str) -> Self {
        let (prompt, settings, harmless): (&[&str], &[&str], &[&str]) = match body_protocol {
            UpstreamProtocol::Messages => {
                (&["messages", "system"], &MESSAGES_SETTINGS, &MESSAGES_HARMLESS)
            }
            UpstreamProtocol::Chat => (&["messages"], &CHAT_SETTINGS, &CHAT_HARMLESS),
            UpstreamProtocol::Responses => {
                (&["input", "instructions"], &RESPONSES_SETTINGS, &RESPONSES_HARMLESS)
            }
        };
        if name == "tools" {
            Self::Tools
        } else if prompt.contains(&name) {
            Self::Prompt
        } else if SETTINGS.contains(&name) || settings.contains(&name) {
            Self::Setting
        } else if matches!(name, "metadata" | "client_metadata") {
            Self::FreeForm
        } else if HARMLESS.contains(&name) || harmless.contains(&name) {
            Self::Harmless
        } else if body_protocol == UpstreamProtocol::Chat && name == "models" {
            Self::Models
        } else if ALIKE.contains(&name) {
            Self::Unknown
        } else {
            let known = ALIKE.iter().find(|known| is_confusable(known, name));
            known.map_or(Self::Unknown, |known| Self::Alike(known))
        }
    }
}

/// Settings of every protocol.
const SETTINGS: [&str; 11] = [
    "cache_control",
    "context_management",
    "enable_search",
    "fallbacks",
    "inference_geo",
    "mcp_servers",
    "modalities",
    "model",
    "plugins",
    "service_tier",
    "speed",
];

const MESSAGES_SETTINGS: [&str; 7] = [
    "compaction",
    "container",
    "max_tokens",
    "num_generations",
    "numResults",
    "thinking",
    "thread",
];

const CHAT_SETTINGS: [&str; 12] = [
    "audio",
    "best_of",
    "enable_thinking",
    "max_completion_tokens",
    "max_tokens",
    "n",
    "prediction",
    "reasoning",
    "search_parameters",
    "thinking",
    "thinking_budget",
    "web_search_options",
];

const RESPONSES_SETTINGS: [&str; 5] =
    ["conversation", "max_output_tokens", "previous_response_id", "prompt", "reasoning"];

/// Fields that have no effect on the cost in any protocol.
const HARMLESS: [&str; 6] = ["background", "stream", "temperature", "tool_choice", "top_p", "user"];

const MESSAGES_HARMLESS: [&str; 11] = [
    "anthropic_beta",
    "anthropic_version",
    "diagnostics",
    "fallback_credit_token",
    "output_config",
    "output_format",
    "safeguards",
    "stop_sequences",
    "stream_options",
    "top_k",
    "user_profile_id",
];

const CHAT_HARMLESS: [&str; 42] = [
    "frequency_penalty",
    "function_call",
    "functions",
    "include_reasoning",
    "length_penalty",
    "logit_bias",
    "logprobs",
    "min_p",
    "min_tokens",
    "parallel_tool_calls",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "prompt_logprobs",
    "prompt_mode",
    "random_seed",
    "reasoning_effort",
    "reasoning_format",
    "reasoning_split",
    "repetition_penalty",
    "response_format",
    "safe_prompt",
    "safety_identifier",
    "seed",
    "skip_special_tokens",
    "stop",
    "stop_token_ids",
    "store",
    "stream_options",
    "structured_outputs",
    "tool_stream",
    "top_a",
    "top_k",
    "top_logprobs",
    "top_prompt_logprobs",
    "transforms",
    "usage",
    "verbosity",
    "disable_tool_validation",
    "ignore_eos",
    "include_stop_str_in_output",
];

const RESPONSES_HARMLESS: [&str; 15] = [
    "include",
    "max_tool_calls",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "store",
    "stream_options",
    "text",
    "top_logprobs",
    "truncation",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
];

/// Fields that in some protocol affect the cost of a request or choose the model. A server that
/// compares names less strictly would also read them in another spelling.
const ALIKE: [&str; 31] = [
    "audio",
    "best_of",
    "compaction",
    "container",
    "context_management",
    "conversation",
    "fallbacks",
    "inference_geo",
    "input",
    "instructions",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "mcp_servers",
    "messages",
    "modalities",
    "model",
    "models",
    "multi_agent",
    "n",
    "num_generations",
    "plugins",
    "prediction",
    "previous_response_id",
    "reasoning",
    "service_tier",
    "speed",
    "system",
    "thinking",
    "tools",
    "web_search_options",
];

/// An item of the Responses API's `input`, and the fields that hold its content. If an item has an
/// id but no content, the API reads the content that it has stored ("Item with id 'rs_…' not found.
/// Items are not persisted when `store` is set to false", OpenAI's 404 of 2026-02-12).
pub(super) struct Item {
    kind: &'static str,
    content: &'static [&'static str],
    /// Whether empty content counts as content. If not, the API reads an empty item by its id.
    may_be_empty: bool,
    /// How a client sends the item with its content.
    pub(super) advice: &'static str,
}

const SEND_ITEM: &str = "Send the item itself.";

const fn item(kind: &'static str, content: &'static [&'static str]) -> Item {
    Item { kind, content, may_be_empty: true, advice: SEND_ITEM }
}

const fn filled(kind: &'static str, content: &'static [&'static str]) -> Item {
    Item { kind, content, may_be_empty: false, advice: SEND_ITEM }
}

/// A filled item whose content the API returns only on request.
const fn requested(
    kind: &'static str,
    content: &'static [&'static str],
    advice: &'static str,
) -> Item {
    Item { kind, content, may_be_empty: false, advice }
}

static ITEMS: [Item; 28] = [
    item("additional_tools", &["tools"]),
    item("apply_patch_call", &["operation"]),
    item("apply_patch_call_output", &["status", "output"]),
    requested(
        "code_interpreter_call",
        &["outputs"],
        "Send the item without its `id`, or with its outputs, which a request with `include: \
         [\"code_interpreter_call.outputs\"]` returns.",
    ),
    filled("compaction", &["encrypted_content"]),
    filled("compaction_summary", &["encrypted_content"]),
    item("compaction_trigger", &[]),
    item("computer_call", &["action", "actions"]),
    item("computer_call_output", &["output"]),
    item("configuration_update", &["reasoning", "text"]),
    item("custom_tool_call", &["input"]),
    item("custom_tool_call_output", &["output"]),
    requested(
        "file_search_call",
        &["results"],
        "Send the item without its `id`, or with its results, which a request with `include: \
         [\"file_search_call.results\"]` returns.",
    ),
    item("function_call", &["arguments"]),
    item("function_call_output", &["output"]),
    filled("image_generation_call", &["result"]),
    item("local_shell_call", &["action"]),
    item("local_shell_call_output", &["output"]),
    item("mcp_approval_request", &["arguments"]),
    filled("mcp_call", &["output", "error"]),
    filled("mcp_list_tools", &["tools"]),
    filled("message", &["content"]),
    requested(
        "reasoning",
        &["encrypted_content", "content"],
        "Send the item with its `encrypted_content`, which a request with `include: \
         [\"reasoning.encrypted_content\"]` returns.",
    ),
    item("shell_call", &["action"]),
    item("shell_call_output", &["output"]),
    item("tool_search_call", &["arguments"]),
    item("tool_search_output", &["tools"]),
    // The item contains no text of the pages. The API has stored the results under the item's id.
    requested("web_search_call", &[], "Send the item without its `id`."),
];

/// All fields that hold the content of some item.
pub(super) const CONTENT_FIELDS: [&str; 15] = [
    "action",
    "actions",
    "arguments",
    "content",
    "encrypted_content",
    "error",
    "input",
    "operation",
    "output",
    "outputs",
    "reasoning",
    "result",
    "results",
    "status",
    "tools",
];

impl Item {
    pub(super) fn from_kind(kind: &str) -> Option<&'static Self> {
        ITEMS.iter().find(|item| item.kind == kind)
    }

    /// Whether the item is complete. `given` returns whether a field is present, `filled` whether
    /// it has content.
    pub(super) fn has_content(
        &self,
        given: impl Fn(&str) -> bool,
        filled: impl Fn(&str) -> bool,
    ) -> bool {
        let is_there = |field: &&str| if self.may_be_empty { given(field) } else { filled(field) };
        self.content.iter().any(is_there)
    }
}

/// Whether an API documents this kind of block for the content of messages and results.
pub(super) fn is_block(body_protocol: UpstreamProtocol, kind: &str) -> bool {
    let is_result =
        || ["_result", "_result_error", "_output"].iter().any(|end| kind.ends_with(end));
    match body_protocol {
        UpstreamProtocol::Messages => MESSAGES_BLOCKS.contains(&kind) || is_result(),
        UpstreamProtocol::Chat => CHAT_BLOCKS.contains(&kind),
        UpstreamProtocol::Responses => RESPONSES_BLOCKS.contains(&kind),
    }
}

const MESSAGES_BLOCKS: [&str; 17] = [
    "browser_state",
    "compaction",
    "container_upload",
    "document",
    "fallback",
    "image",
    "mcp_tool_listing",
    "mcp_tool_use",
    "message",
    "redacted_thinking",
    "server_tool_use",
    "text",
    "thinking",
    "tool_addition",
    "tool_reference",
    "tool_removal",
    "tool_use",
];

/// This includes Mistral's chunks.
const CHAT_BLOCKS: [&str; 17] = [
    "document",
    "document_url",
    "file",
    "image",
    "image_file",
    "image_url",
    "input_audio",
    "input_file",
    "input_image",
    "input_text",
    "message",
    "output_text",
    "redacted_thinking",
    "reference",
    "refusal",
    "text",
    "thinking",
];

const RESPONSES_BLOCKS: [&str; 11] = [
    "computer_screenshot",
    "encrypted_content",
    "input_audio",
    "input_file",
    "input_image",
    "input_text",
    "output_text",
    "reasoning_text",
    "refusal",
    "summary_text",
    "text",
];

/// Whether an API documents this field for tools that the client runs, or for tools whose cost
/// Baton can compute.
pub(super) fn is_tool_field(name: &str) -> bool {
    TOOL_FIELDS.contains(&name)
}

const TOOL_FIELDS: [&str; 41] = [
    "allowed_callers",
    "allowed_domains",
    "annotations",
    "async",
    "blocked_domains",
    "cache_control",
    "caching",
    "citations",
    "configs",
    "custom",
    "defer_loading",
    "description",
    "display_height",
    "display_height_px",
    "display_number",
    "display_width",
    "display_width_px",
    "eager_input_streaming",
    "enable_zoom",
    "environment",
    "execution",
    "format",
    "function",
    "input_examples",
    "input_schema",
    "max_characters",
    "max_content_tokens",
    "max_tokens",
    "max_uses",
    "model",
    "name",
    "output_schema",
    "parameters",
    "prompt_cache_breakpoint",
    "response_inclusion",
    "strict",
    "tools",
    "type",
    "url_sources",
    "use_cache",
    "user_location",
];

/// Whether each call of a model has a price in addition to its tokens: OpenRouter's web search
/// (`:online`), OpenAI's models that always search, Perplexity's models (a fee for each request by
/// the size of the search), Groq's systems that run tools (their pages of 2026-11), and xAI's models
/// that call 4 or 16 agents, each of which is billed (openrouter.ai, "Grok 4.20 Multi-Agent", and
/// docs.apiyi.com, "Grok Multi-Agent Model Guide", 2026-11).
pub(super) fn has_call_price(model: &str) -> bool {
    let model = model.to_ascii_lowercase();
    // A variant such as `:free` follows the name.
    let path = model.split(':').next().unwrap_or(&model);
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_preset = path.contains("perplexity/preset/");
    model.split(':').skip(1).any(|mark| mark == "online")
        || is_preset
        || matches!(name, "compound" | "compound-mini")
        || ["sonar", "pplx-", "compound-beta"].iter().any(|start| name.starts_with(start))
        || CALL_PRICE_WORDS.iter().any(|word| name.contains(word))
}

const CALL_PRICE_WORDS: [&str; 6] =
    ["-search-api", "-search-preview", "deep-research", "deepsearch", "-online", "multi-agent"];
