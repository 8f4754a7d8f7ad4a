//! The fields that each protocol documents inside messages, items and content blocks.
//!
//! Anything else inside the prompt can make an upstream read stored files, run tools or choose a
//! model, so it has no cost bound. The lists contain the names of all documented types together: the
//! scan treats a field in the same way wherever it stands.
//!
//! Sources, read 2026-11-28: the parameter types of the Python SDKs `anthropic` 2.14.0
//! (`BetaMessageParam`), `openai` 3.57.0 (`ChatCompletionMessageParam`, `ResponseInputItemParam`),
//! `groq` 1.7.0 and `mistralai` 3.7.0 (messages and chunks); fields of answers that clients send
//! back: OpenRouter's pages on reasoning and images, DeepSeek's `reasoning_content` and `prefix`,
//! Moonshot's `partial`, Cohere's `tool_plan`, Gemini's `extra_content`, LiteLLM's
//! `thinking_blocks`, and the helpers of OpenAI's SDK (`parsed`).

use super::UpstreamProtocol;

/// How a field inside the prompt is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NestedField {
    /// Part of the prompt that can contain further blocks.
    Content,
    /// Text of the client or of a model, or a setting without effect on the cost. It counts with
    /// its length, and the models that an object in it names count.
    Plain,
    /// A value that no server acts on, such as a schema or metadata. It counts with its length,
    /// whatever it contains.
    FreeForm,
    /// No API documents it.
    Unknown,
}

impl NestedField {
    pub(super) fn from_name(reads: UpstreamProtocol, name: &str) -> Self {
        let (content, plain): (&[&str], &[&str]) = match reads {
            UpstreamProtocol::Messages => (&MESSAGES, &MESSAGES_PLAIN),
            UpstreamProtocol::Chat => (&CHAT, &CHAT_PLAIN),
            UpstreamProtocol::Responses => (&RESPONSES, &RESPONSES_PLAIN),
        };
        let free_form: &[&str] = match reads {
            UpstreamProtocol::Messages => &MESSAGES_FREE_FORM,
            UpstreamProtocol::Chat => &[],
            UpstreamProtocol::Responses => &RESPONSES_FREE_FORM,
        };
        if FREE_FORM.contains(&name) || free_form.contains(&name) {
            Self::FreeForm
        } else if PLAIN.contains(&name) || plain.contains(&name) {
            Self::Plain
        } else if content.contains(&name) {
            Self::Content
        } else {
            Self::Unknown
        }
    }
}

/// Plain values in every protocol.
const PLAIN: [&str; 5] = ["annotations", "citations", "logprobs", "signature", "text"];

/// Free-form values in every protocol.
const FREE_FORM: [&str; 7] = [
    "attributes",
    "input_schema",
    "metadata",
    "parameters",
    "parsed",
    "parsed_arguments",
    "schema",
];

const MESSAGES_PLAIN: [&str; 1] = ["output_config"];

/// These fields say which model has answered before: the server ignores them in a request
/// (`BetaFallbackBlockParam`).
const MESSAGES_FREE_FORM: [&str; 3] = ["from", "to", "trigger"];

/// `document`, `file` and `image_url` are other vendors' names, which the scan reads in any protocol.
const MESSAGES: [&str; 53] = [
    "active",
    "caller",
    "clear_at",
    "content",
    "context",
    "download_id",
    "enabled",
    "encrypted_index",
    "encrypted_stdout",
    "error",
    "file",
    "error_code",
    "error_message",
    "file_type",
    "image_url",
    "is_error",
    "is_file_update",
    "lines",
    "mcp_server_name",
    "name",
    "new_lines",
    "new_start",
    "num_lines",
    "old_lines",
    "old_start",
    "oversized_image",
    "page_age",
    "path",
    "retrieved_at",
    "return_code",
    "server_name",
    "size_bytes",
    "source",
    "start_line",
    "state_changes",
    "stderr",
    "stdout",
    "stop_reason",
    "tab_id",
    "tabs",
    "thinking",
    "title",
    "tool",
    "tool_changes",
    "tool_id",
    "tool_name",
    "tool_references",
    "tool_use_id",
    "toolset_name",
    "total_lines",
    "transformations",
    "ttl",
    "document",
];

const CHAT_PLAIN: [&str; 5] = [
    "extra_content",
    "output_config",
    "provider_specific_fields",
    "reasoning_details",
    "thinking_blocks",
];

const CHAT: [&str; 36] = [
    "closed",
    "content",
    "context",
    "custom",
    "description",
    "detail",
    "document",
    "document_name",
    "file",
    "filename",
    "format",
    "function",
    "function_call",
    "image_url",
    "images",
    "index",
    "is_error",
    "name",
    "partial",
    "phase",
    "prefix",
    "prompt_cache_breakpoint",
    "mode",
    "reasoning",
    "reasoning_content",
    "refusal",
    "source",
    "status",
    "thinking",
    "title",
    "tool_call_id",
    "tool_calls",
    "tool_plan",
    "tool_use_id",
    "ttl",
    "summary",
];

const RESPONSES_PLAIN: [&str; 1] = ["moderation_details"];

/// The variables of a command, and the usage of an earlier call with the model that was charged
/// (`ImageGenerationCallSvgUsage`).
const RESPONSES_FREE_FORM: [&str; 2] = ["env", "svg_usage"];

const RESPONSES: [&str; 79] = [
    "acknowledged_safety_checks",
    "action",
    "actions",
    "async",
    "background",
    "button",
    "call_id",
    "caller",
    "caller_id",
    "code",
    "command",
    "commands",
    "container_id",
    "content",
    "created_by",
    "description",
    "detail",
    "diff",
    "end_index",
    "end_turn",
    "environment",
    "error",
    "execution",
    "exit_code",
    "filename",
    "fingerprint",
    "image_url",
    "index",
    "keys",
    "logs",
    "max_output_length",
    "message",
    "mode",
    "name",
    "namespace",
    "operation",
    "outcome",
    "output",
    "output_format",
    "outputs",
    "param",
    "path",
    "pattern",
    "pending_safety_checks",
    "phase",
    "prompt_cache_breakpoint",
    "quality",
    "queries",
    "query",
    "reason",
    "refusal",
    "result",
    "results",
    "revised_prompt",
    "score",
    "scroll_x",
    "scroll_y",
    "server_label",
    "size",
    "skills",
    "sources",
    "start_index",
    "status",
    "stderr",
    "stdout",
    "strict",
    "summary",
    "timeout_ms",
    "title",
    "token",
    "ttl",
    "user",
    "working_directory",
    "x",
    "y",
    "approval_request_id",
    "approve",
    "source",
    "context",
];
