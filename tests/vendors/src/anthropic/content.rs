//! The conversation of a Messages request.
//!
//! Blocks and their fields are those of anthropic-sdk-python 009b0353 (2026-08-07),
//! `types/beta/beta_*_block_param.py`. Error texts are those of the API as users report them.

use super::model::Claude;
use super::{Place, check_keys};
use crate::state::TwinState;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::collections::HashSet;

/// What decides about content beside the content.
pub(super) struct ContentRules<'a> {
    pub(super) claude: Claude,
    pub(super) account: &'a str,
    pub(super) place: Place,
    pub(super) state: &'a TwinState,
    pub(super) has_tools: bool,
    pub(super) is_count: bool,
}

/// The prefix of signatures of thinking.
pub(crate) const SIGNATURE: &str = "ErUB";

impl ContentRules<'_> {
    /// Checks all messages.
    pub(super) fn check(&self, messages: &[Value]) -> Result<(), String> {
        if messages.is_empty() {
            return Err("messages: at least one message is required".to_owned());
        }
        for (index, message) in messages.iter().enumerate() {
            self.check_message(messages, index, message)?;
        }
        check_call_pairs(messages)?;
        // LiteLLM adds a tool for it; BerriAI/litellm `anthropic/chat/transformation.py`, 2026-11.
        if !self.has_tools && has_calls(messages) {
            return Err(
                "Requests which include `tool_use` or `tool_result` blocks must define tools"
                    .to_owned(),
            );
        }
        self.check_last(messages)
    }

    fn check_message(&self, all: &[Value], index: usize, message: &Value) -> Result<(), String> {
        let at = format!("messages.{index}");
        check_keys(message, &at, &["role", "content", "output_config", "id"])?;
        let role = message["role"].as_str().unwrap_or_default();
        match role {
            "user" | "assistant" => {}
            // "Mid-conversation system messages", 2026-11: after a user's message only.
            "system" if self.claude.takes_system_turns() => {
                let follows = index > 0 && all[index - 1]["role"] != "assistant";
                if !follows {
                    return Err(format!(
                        "{at}.role: a 'system' message must follow a 'user' message"
                    ));
                }
            }
            "system" => {
                return Err(format!("{at}.role: role 'system' is not supported on this model"));
            }
            _ => return Err(format!("{at}.role: Input should be 'user' or 'assistant'")),
        }
        let is_last = index + 1 == all.len();
        let blocks = match &message["content"] {
            Value::String(text) => {
                return check_text(text, &at, is_last && role == "assistant");
            }
            Value::Array(blocks) => blocks,
            _ => return Err(format!("{at}.content: Input should be a valid list")),
        };
        if blocks.is_empty() && !(is_last && role == "assistant") {
            return Err(format!(
                "{at}: all messages must have non-empty content except for the \
                                optional final assistant message"
            ));
        }
        for (position, block) in blocks.iter().enumerate() {
            self.check_block(block, role, &format!("{at}.content.{position}"))?;
        }
        Ok(())
    }

    fn check_block(&self, block: &Value, role: &str, at: &str) -> Result<(), String> {
        let kind = block["type"].as_str().unwrap_or_default();
        let by_role: &[&str] = match role {
            "user" => {
                &["text", "image", "document", "tool_result", "search_result", "container_upload"]
            }
            "system" => &["text"],
            _ => &[
                "text",
                "thinking",
                "redacted_thinking",
                "tool_use",
                "server_tool_use",
                "web_search_tool_result",
                "web_fetch_tool_result",
                "code_execution_tool_result",
                "bash_code_execution_tool_result",
                "mcp_tool_use",
                "mcp_tool_result",
                "compaction",
            ],
        };
        if !by_role.contains(&kind) {
            return Err(format!(
                "{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
            ));
        }
        let at = format!("{at}.{kind}");
        match kind {
            "text" => {
                check_keys(block, &at, &["type", "text", "cache_control", "citations"])?;
                let text = block["text"].as_str();
                let text = text.ok_or(format!("{at}.text: Input should be a valid string"))?;
                check_text_block(text)
            }
            "thinking" => {
                // Wei-Shaw/sub2api #225, 2026-01-10: no cache control here.
                check_keys(block, &at, &["type", "thinking", "signature"])?;
                self.check_signature(block, &at)
            }
            "redacted_thinking" => {
                check_keys(block, &at, &["type", "data"])?;
                let data = block["data"].as_str().unwrap_or_default();
                if self.state.is_sealed(data, SIGNATURE, &["redacted"]) {
                    return Ok(());
                }
                Err(format!("{at}: Invalid `data` in `redacted_thinking` block"))
            }
            "tool_use" => {
                check_keys(
                    block,
                    &at,
                    &["type", "id", "name", "input", "cache_control", "caller"],
                )?;
                check_pattern(&block["id"], &format!("{at}.id"), usize::MAX)?;
                check_pattern(&block["name"], &format!("{at}.name"), 200)?;
                if block["input"].is_object() {
                    return Ok(());
                }
                Err(format!("{at}.input: Input should be a valid dictionary"))
            }
            "tool_result" => self.check_tool_result(block, &at),
            "image" => self.check_image(block, &at),
            "document" => self.check_document(block, &at),
            _ => Ok(()),
        }
    }

    fn check_signature(&self, block: &Value, at: &str) -> Result<(), String> {
        let (thinking, signature) = (block["thinking"].as_str(), block["signature"].as_str());
        let (Some(thinking), Some(signature)) = (thinking, signature) else {
            return Err(format!("{at}.signature: Field required"));
        };
        let bound = [thinking, self.account];
        let is_own = self.state.is_sealed(signature, SIGNATURE, &bound)
            || (!self.claude.binds_thinking_to_account()
                && self.state.is_sealed(signature, SIGNATURE, &[thinking]));
        if is_own {
            return Ok(());
        }
        let at = at.trim_end_matches(".thinking");
        Err(format!("{at}: Invalid `signature` in `thinking` block"))
    }

    fn check_tool_result(&self, block: &Value, at: &str) -> Result<(), String> {
        check_keys(block, at, &["type", "tool_use_id", "content", "is_error", "cache_control"])?;
        check_pattern(&block["tool_use_id"], &format!("{at}.tool_use_id"), usize::MAX)?;
        for (index, part) in block["content"].as_array().into_iter().flatten().enumerate() {
            let at = format!("{at}.content.{index}");
            match part["type"].as_str().unwrap_or_default() {
                "text" => check_text_block(part["text"].as_str().unwrap_or_default())?,
                "image" => self.check_image(part, &format!("{at}.image"))?,
                "document" => self.check_document(part, &format!("{at}.document"))?,
                "search_result" | "tool_reference" => {}
                kind => {
                    return Err(format!(
                        "{at}: Input tag '{kind}' found using 'type' does not match \
                                        any of the expected tags"
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_image(&self, block: &Value, at: &str) -> Result<(), String> {
        check_keys(block, at, &["type", "source", "cache_control"])?;
        let media = ["image/jpeg", "image/png", "image/gif", "image/webp"];
        let expected = "'image/jpeg', 'image/png', 'image/gif' or 'image/webp'";
        self.check_source(&block["source"], at, &media, expected)
    }

    /// A base64 document is a PDF, and a text document is plain text ("PDF support", "Files",
    /// 2026-11; danny-avila/LibreChat #16054).
    fn check_document(&self, block: &Value, at: &str) -> Result<(), String> {
        check_keys(
            block,
            at,
            &["type", "source", "cache_control", "citations", "context", "title"],
        )?;
        let source = &block["source"];
        match source["type"].as_str() {
            Some("text") if source["media_type"] != "text/plain" => {
                Err(format!("{at}.source.text.media_type: Input should be 'text/plain'"))
            }
            Some("text") if !source["data"].is_string() => {
                Err(format!("{at}.source.text.data: Input should be a valid string"))
            }
            Some("text" | "content") => Ok(()),
            _ => self.check_source(source, at, &["application/pdf"], "'application/pdf'"),
        }
    }

    fn check_source(
        &self,
        source: &Value,
        at: &str,
        media: &[&str],
        expected: &str,
    ) -> Result<(), String> {
        let kind = source["type"].as_str().unwrap_or_default();
        match (kind, self.place) {
            ("base64", _) => {
                if !media.contains(&source["media_type"].as_str().unwrap_or_default()) {
                    return Err(format!(
                        "{at}.source.base64.media_type: Input should be {expected}"
                    ));
                }
                let data = source["data"].as_str().unwrap_or_default();
                if data.is_empty() || BASE64_STANDARD.decode(data).is_err() {
                    return Err(format!("{at}.source.base64.data: Invalid base64 data"));
                }
                Ok(())
            }
            // Bedrock user guide, "Anthropic Claude Messages API", 2026-11: base64 only.
            ("url", Place::Anthropic) => {
                let url = source["url"].as_str().unwrap_or_default();
                if url.starts_with("https://") || url.starts_with("http://") {
                    return Ok(());
                }
                Err(format!("{at}.source.url.url: Only HTTPS URLs are supported."))
            }
            ("file", Place::Anthropic) => {
                let id = source["file_id"].as_str().unwrap_or_default();
                if self.state.known_seals.contains(id) {
                    return Ok(());
                }
                Err(format!("{at}.source.file.file_id: File not found: {id}"))
            }
            _ => Err(format!(
                "{at}.source: Input tag '{kind}' found using 'type' does not match any \
                              of the expected tags"
            )),
        }
    }

    fn check_last(&self, messages: &[Value]) -> Result<(), String> {
        let last = messages.last().filter(|last| last["role"] == "assistant");
        // A count has no answer, so it can end anywhere.
        if last.is_some() && !self.claude.takes_prefill() && !self.is_count {
            return Err("This model does not support assistant message prefill. The conversation \
                        must end with a user message."
                .to_owned());
        }
        let text = last.and_then(|last| last["content"].as_array()?.last()?["text"].as_str());
        match text {
            Some(text) if text.ends_with(char::is_whitespace) => {
                Err("messages: final assistant content cannot end with trailing whitespace"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn check_text(text: &str, at: &str, is_prefill: bool) -> Result<(), String> {
    match text {
        "" if !is_prefill => Err(format!(
            "{at}: all messages must have non-empty content except for the optional final assistant \
             message"
        )),
        "" => Ok(()),
        text if is_prefill && text.ends_with(char::is_whitespace) => {
            Err("messages: final assistant content cannot end with trailing whitespace".to_owned())
        }
        text => check_text_block(text),
    }
}

/// musistudio/claude-code-router #185 and others, 2025-07: empty text is refused.
pub(super) fn check_text_block(text: &str) -> Result<(), String> {
    match text {
        "" => Err("messages: text content blocks must be non-empty".to_owned()),
        text if text.trim().is_empty() => {
            Err("messages: text content blocks must contain non-whitespace text".to_owned())
        }
        _ => Ok(()),
    }
}

/// HKUDS/nanobot #4356, 2026: ids and names have these letters only.
pub(super) fn check_pattern(value: &Value, at: &str, most: usize) -> Result<(), String> {
    let text = value.as_str().ok_or(format!("{at}: Field required"))?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    match text {
        text if is_plain && !text.is_empty() && text.len() <= most => Ok(()),
        _ if most == usize::MAX => {
            Err(format!("{at}: String should match pattern '^[a-zA-Z0-9_-]+$'"))
        }
        _ => Err(format!("{at}: String should match pattern '^[a-zA-Z0-9_-]{{1,{most}}}$'")),
    }
}

fn blocks<'a>(message: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    let blocks = message["content"].as_array().into_iter().flatten();
    blocks.filter(move |block| block["type"] == kind)
}

fn has_calls(messages: &[Value]) -> bool {
    let has = |message| {
        blocks(message, "tool_use").next().is_some()
            || blocks(message, "tool_result").next().is_some()
    };
    messages.iter().any(has)
}

/// Every call is answered in the next message, before its other content, and nothing else is
/// ("Handle tool calls", 2026-11; anthropics/claude-code #11241).
fn check_call_pairs(messages: &[Value]) -> Result<(), String> {
    let mut seen = HashSet::new();
    for (index, message) in messages.iter().enumerate() {
        let calls: Vec<&str> =
            blocks(message, "tool_use").filter_map(|it| it["id"].as_str()).collect();
        if !calls.iter().all(|id| seen.insert(*id)) {
            return Err("messages: `tool_use` ids must be unique".to_owned());
        }
        let next = messages.get(index + 1);
        let answered: Vec<&str> = next
            .into_iter()
            .flat_map(|next| blocks(next, "tool_result"))
            .filter_map(|result| result["tool_use_id"].as_str())
            .collect();
        if let Some(id) = calls.iter().find(|id| !answered.contains(id)) {
            return Err(format!(
                "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately \
                 after: {id}. Each `tool_use` block must have a corresponding `tool_result` block in \
                 the next message."
            ));
        }
        let place = index + 1;
        if let Some(id) = answered.iter().find(|id| !calls.contains(id)) {
            return Err(format!(
                "messages.{place}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: \
                 {id}. Each `tool_result` block must have a corresponding `tool_use` block in the \
                 previous message."
            ));
        }
        if index == 0 && blocks(message, "tool_result").next().is_some() {
            return Err(
                "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks"
                    .to_owned(),
            );
        }
        let after = message["content"].as_array().into_iter().flatten();
        let after = after.skip_while(|block| block["type"] == "tool_result");
        if after.into_iter().any(|block| block["type"] == "tool_result") {
            return Err(format!(
                "messages.{index}: `tool_result` blocks must come before other content"
            ));
        }
    }
    Ok(())
}
