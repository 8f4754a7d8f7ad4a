//! Fits a request that passes untranslated: removes what only another upstream can read, and what
//! the model is known to refuse.
//!
//! A client returns what it got: thinking and reasoning items that were translated for it, with a
//! state or an id of Baton's own, ids of calls in another vendor's letters, and what a vendor adds
//! to its answers. After a failover the next upstream refuses them ("Invalid `signature` in
//! `thinking` block", "Item … not found", "Unknown parameter: 'messages[2].reasoning'"). A client of
//! Chat Completions also sends settings of the model that it asks for, which another vendor's account
//! refuses. A request without them keeps all of its bytes.

mod chat_history;
mod chat_settings;

use crate::json::{DEPTH_MAX, JsonDocument, JsonValue};
use crate::translate::{REASONING_ID_PREFIX, STATE_PREFIX, TranslationError, sanitize_id};
use baton_domain::model_capabilities::ModelCapabilities;
use baton_domain::protocol::UpstreamProtocol;
use baton_domain::usage::clean_text;
use chat_history::ChatHistory;
use chat_settings::ChatSettings;
use memchr::memmem;
use std::ops::Range;

/// Whether the body can have foreign state or refused settings, so that [`fit_passed_request`] parses
/// it. These are scans of the body without a copy. `capabilities` are those of the model that gets the
/// request.
pub fn may_need_fitting(
    body: &[u8],
    upstream: UpstreamProtocol,
    capabilities: &ModelCapabilities,
) -> bool {
    match upstream {
        UpstreamProtocol::Messages => may_have_foreign_blocks(body),
        UpstreamProtocol::Responses => may_have_foreign_items(body),
        UpstreamProtocol::Chat => {
            chat_history::may_need_change(body, capabilities)
                || chat_settings::may_need_change(body, capabilities)
        }
    }
}

/// Why a request cannot pass to the upstream. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnfitRequest {
    /// It refers to an item that no upstream has.
    #[error(transparent)]
    Reference(#[from] ForeignReference),
    /// It has a setting that the upstream refuses, and without which the answer would be another.
    #[error(transparent)]
    Setting(#[from] TranslationError),
}

/// A request refers to an item that only Baton's translation named, so no upstream has it. The text
/// is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "input[{index}]: no upstream has stored the item `{id}`, because it was translated from another \
     API. Send the item itself, not a reference to it, as clients do with `store: false`."
)]
pub struct ForeignReference {
    index: usize,
    id: String,
}

/// The body without foreign state and refused settings, or `None` if it has none.
///
/// # Errors
/// [`UnfitRequest`]
pub fn fit_passed_request(
    body: &[u8],
    upstream: UpstreamProtocol,
    capabilities: &ModelCapabilities,
) -> Result<Option<Vec<u8>>, UnfitRequest> {
    if !may_need_fitting(body, upstream, capabilities) {
        return Ok(None);
    }
    let Ok(document) = JsonDocument::parse(body, DEPTH_MAX) else { return Ok(None) };
    let root = document.root();
    let list = match upstream {
        UpstreamProtocol::Messages | UpstreamProtocol::Chat => root.field("messages"),
        UpstreamProtocol::Responses => root.field("input"),
    };
    let Some((list, items)) = list.and_then(|list| Some((list, list.items()?))) else {
        return Ok(None);
    };
    let mut edits = Vec::new();
    let kept: Vec<FilteredElement<'_>> = match upstream {
        UpstreamProtocol::Messages => {
            let (kept, has_lost_thinking) = keep_messages(items);
            if has_lost_thinking {
                edits.extend(disabled_thinking(root, body));
            }
            kept
        }
        UpstreamProtocol::Responses => items
            .enumerate()
            .map(|(index, item)| keep_item(index, item))
            .collect::<Result<_, _>>()?,
        UpstreamProtocol::Chat => {
            let settings = ChatSettings::fit(root, body, capabilities)?;
            let history = ChatHistory::new(settings.is_thinking_off, capabilities);
            let mut kept = items.map(|message| history.keep_message(message)).collect();
            settings.instruct(&mut kept);
            edits = settings.edits;
            kept
        }
    };
    if kept.iter().any(|element| !matches!(element, FilteredElement::Same(_))) {
        edits.push((find_span(body, list.raw()), join_list(&kept)));
    }
    Ok((!edits.is_empty()).then(|| apply_edits(body, edits)))
}

/// An element of a list.
enum FilteredElement<'a> {
    Same(&'a str),
    Changed(String),
    Removed,
}

impl FilteredElement<'_> {
    /// The element as the upstream gets it, if it does.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Same(text) => Some(text),
            Self::Changed(text) => Some(text),
            Self::Removed => None,
        }
    }
}

fn join_list(kept: &[FilteredElement<'_>]) -> String {
    let texts = kept.iter().filter_map(FilteredElement::text);
    format!("[{}]", texts.collect::<Vec<_>>().join(","))
}

fn apply_edits(body: &[u8], mut edits: Vec<(Range<usize>, String)>) -> Vec<u8> {
    edits.sort_by_key(|(span, _)| span.start);
    let (mut changed, mut end) = (Vec::with_capacity(body.len()), 0);
    for (span, text) in edits {
        changed.extend_from_slice(body.get(end..span.start).unwrap_or_default());
        changed.extend_from_slice(text.as_bytes());
        end = span.end;
    }
    changed.extend_from_slice(body.get(end..).unwrap_or_default());
    changed
}

fn find_span(whole: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

/// Whether a field of this name has a string that `is_suspect`. Text inside of strings has escaped
/// quotation marks and does not match.
fn has_field_text(body: &[u8], name: &str, is_suspect: impl Fn(&[u8]) -> bool) -> bool {
    let quoted = format!("\"{name}\"");
    memmem::find_iter(body, quoted.as_bytes()).any(|at| {
        let rest = body.get(at + quoted.len()..).unwrap_or_default().trim_ascii_start();
        let value = rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        let text = value.and_then(|value| value.strip_prefix(b"\""));
        text.is_some_and(|text| {
            let end = memchr::memchr(b'"', text).unwrap_or(text.len());
            is_suspect(&text[..end])
        })
    })
}

fn may_have_foreign_blocks(body: &[u8]) -> bool {
    let is_foreign_id = |id: &[u8]| {
        !id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    has_field_text(body, "signature", |text| {
        text.is_empty() || text.starts_with(STATE_PREFIX.as_bytes())
    }) || has_field_text(body, "id", is_foreign_id)
        || has_field_text(body, "tool_use_id", is_foreign_id)
}

/// Keeps what a signing upstream accepts of the messages. Also returns whether the last answer that
/// called tools has lost its thinking.
fn keep_messages<'a>(
    messages: impl Iterator<Item = JsonValue<'a>>,
) -> (Vec<FilteredElement<'a>>, bool) {
    let mut has_lost_thinking = false;
    let mut kept = Vec::new();
    for message in messages {
        let (element, is_unsigned_call) = keep_message(message);
        if message.field_text("role").as_deref() == Some("assistant") {
            has_lost_thinking = is_unsigned_call;
        }
        kept.push(element);
    }
    (kept, has_lost_thinking)
}

/// Keeps what a signing upstream accepts of a message. Also returns whether it has calls and lost
/// its thinking.
fn keep_message(message: JsonValue<'_>) -> (FilteredElement<'_>, bool) {
    let same = (FilteredElement::Same(message.raw()), false);
    let Some(content) = message.field("content") else { return same };
    let Some(blocks) = content.items() else { return same };
    let (mut kept, mut calls, mut is_thinking_lost) = (Vec::new(), false, false);
    for block in blocks {
        let kind = block.field_text("type").unwrap_or_default();
        calls |= kind == "tool_use";
        kept.push(match kind.as_ref() {
            "thinking" if is_foreign_thinking(block) => {
                is_thinking_lost = true;
                FilteredElement::Removed
            }
            "tool_use" => sanitize_id_field(block, "id"),
            "tool_result" => sanitize_id_field(block, "tool_use_id"),
            _ => FilteredElement::Same(block.raw()),
        });
    }
    if kept.iter().all(|block| matches!(block, FilteredElement::Same(_))) {
        return same;
    }
    if kept.iter().all(|block| matches!(block, FilteredElement::Removed)) {
        return (FilteredElement::Removed, false);
    }
    let raw = message.raw();
    let edit = (find_span(raw.as_bytes(), content.raw()), join_list(&kept));
    let changed = apply_edits(raw.as_bytes(), vec![edit]);
    (
        FilteredElement::Changed(String::from_utf8(changed).unwrap_or_default()),
        calls && is_thinking_lost,
    )
}

fn is_foreign_thinking(block: JsonValue<'_>) -> bool {
    let signature = block.field_text("signature").unwrap_or_default();
    signature.is_empty() || signature.starts_with(STATE_PREFIX)
}

fn sanitize_id_field<'a>(block: JsonValue<'a>, name: &str) -> FilteredElement<'a> {
    replace_text(block, name, |id| Some(sanitize_id(id)).filter(|plain| plain != id))
}

/// The object with another text in the field, if `fit` gives one.
fn replace_text<'a>(
    object: JsonValue<'a>,
    name: &str,
    fit: impl Fn(&str) -> Option<String>,
) -> FilteredElement<'a> {
    let raw = object.raw();
    let text = object.field(name).and_then(|text| Some((text, fit(&text.text()?)?)));
    let Some((text, fitting)) = text else { return FilteredElement::Same(raw) };
    let fitting = serde_json::Value::from(fitting).to_string();
    let edit = (find_span(raw.as_bytes(), text.raw()), fitting);
    let changed = apply_edits(raw.as_bytes(), vec![edit]);
    FilteredElement::Changed(String::from_utf8(changed).unwrap_or_default())
}

/// Switches off thinking with a budget: models that have one refuse to go on after a call without
/// its thinking ("Expected `thinking`, but found `tool_use`").
fn disabled_thinking(root: JsonValue<'_>, body: &[u8]) -> Option<(Range<usize>, String)> {
    let thinking = root.field("thinking")?;
    let is_enabled = thinking.field_text("type").as_deref() == Some("enabled");
    is_enabled.then(|| (find_span(body, thinking.raw()), r#"{"type":"disabled"}"#.to_owned()))
}

/// How reasoning begins that was translated from the Messages API.
const SEALED_THINKING: [&str; 2] = [r#"{"type":"thinking""#, r#"{"type":"redacted_thinking""#];

fn may_have_foreign_items(body: &[u8]) -> bool {
    has_field_text(body, "encrypted_content", |text| {
        text.starts_with(STATE_PREFIX.as_bytes()) || text.starts_with(b"{")
    }) || has_field_text(body, "id", |id| std::str::from_utf8(id).is_ok_and(is_baton_item_id))
}

/// Whether an id is one that the translation makes: the id of the answer between the kind of the
/// item and its number. OpenAI's ids have no second underscore.
fn is_baton_item_id(id: &str) -> bool {
    let kinds = ["msg_", "rs_", "fc_", "ctc_"];
    let rest = kinds.iter().find_map(|kind| id.strip_prefix(kind));
    let number = rest.and_then(|rest| rest.rsplit_once('_')).map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit()))
}

/// The characters of an item's id that an error repeats.
const ID_SHOWN_CHARS: usize = 100;

fn keep_item(index: usize, item: JsonValue<'_>) -> Result<FilteredElement<'_>, ForeignReference> {
    let id = item.field_text("id").unwrap_or_default();
    let has_baton_id = is_baton_item_id(&id);
    if has_baton_id && is_reference(item) {
        if id.starts_with(REASONING_ID_PREFIX) {
            return Ok(FilteredElement::Removed);
        }
        return Err(ForeignReference { index, id: clean_text(&id, ID_SHOWN_CHARS) });
    }
    Ok(keep_whole_item(item, has_baton_id))
}

/// Whether an item is only a reference to one that the upstream has stored. Its type can be left out
/// (OpenAI's OpenAPI document, `ItemReferenceParam`, 2026-11).
fn is_reference(item: JsonValue<'_>) -> bool {
    match item.field_text("type").as_deref() {
        Some(kind) => kind == "item_reference",
        None => {
            item.fields().into_iter().flatten().all(|(name, _)| matches!(&*name, "id" | "type"))
        }
    }
}

fn keep_whole_item(item: JsonValue<'_>, has_baton_id: bool) -> FilteredElement<'_> {
    if item.field_text("type").as_deref() == Some("reasoning") {
        let sealed = item.field_text("encrypted_content").unwrap_or_default();
        let is_baton_state = sealed.starts_with(STATE_PREFIX)
            || SEALED_THINKING.iter().any(|start| sealed.starts_with(start));
        return if is_baton_state || has_baton_id {
            FilteredElement::Removed
        } else {
            FilteredElement::Same(item.raw())
        };
    }
    if !has_baton_id {
        return FilteredElement::Same(item.raw());
    }
    let fields = item.fields().into_iter().flatten().filter(|(name, _)| name != "id");
    let fields = fields.map(|(name, value)| {
        format!("{}:{}", serde_json::Value::from(name.into_owned()), value.raw())
    });
    FilteredElement::Changed(format!("{{{}}}", fields.collect::<Vec<_>>().join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cleaned(body: &Value, upstream: UpstreamProtocol) -> Option<Value> {
        let changed =
            fit_passed_request(body.to_string().as_bytes(), upstream, &ModelCapabilities::UNKNOWN);
        let changed = changed.unwrap()?;
        Some(serde_json::from_slice(&changed).unwrap())
    }

    fn conversation(signature: &str, id: &str) -> Value {
        json!({"model": "m", "thinking": {"type": "enabled", "budget_tokens": 1024}, "messages": [
            {"role": "user", "content": "list"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": signature},
                {"type": "tool_use", "id": id, "name": "Bash", "input": {"id": "a b", "signature": ""}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": id, "content": "{\"signature\":\"\"}"},
            ]},
        ]})
    }

    #[test]
    fn thinking_of_another_upstream_is_left_out() {
        for signature in ["", "baton1_e30"] {
            let body = conversation(signature, "functions.Bash:0");
            let cleaned = cleaned(&body, UpstreamProtocol::Messages).unwrap();
            let blocks = &cleaned["messages"][1]["content"];
            assert_eq!(blocks.as_array().unwrap().len(), 1);
            let call_id = blocks[0]["id"].as_str().unwrap();
            assert!(call_id.starts_with("functions_Bash_0_"), "{call_id}");
            assert_eq!(blocks[0]["input"], body["messages"][1]["content"][1]["input"]);
            assert_eq!(cleaned["messages"][2]["content"][0]["tool_use_id"], call_id);
            assert_eq!(cleaned["thinking"], json!({"type": "disabled"}));
        }
    }

    #[test]
    fn signed_thinking_keeps_all_bytes() {
        let body = conversation("c2lnbmVk", "toolu_01");
        assert_eq!(cleaned(&body, UpstreamProtocol::Messages), None);
        assert_eq!(cleaned(&body, UpstreamProtocol::Responses), None);
        assert_eq!(cleaned(&conversation("", "a.b"), UpstreamProtocol::Chat), None);
        for broken in ["", "{", "[]", "{\"messages\":7,\"id\":\"a b\"}"] {
            for upstream in [UpstreamProtocol::Messages, UpstreamProtocol::Responses] {
                let unknown = &ModelCapabilities::UNKNOWN;
                let found = fit_passed_request(broken.as_bytes(), upstream, unknown);
                assert_eq!(found, Ok(None), "{broken}");
            }
        }
    }

    /// The id is all that a reference has.
    #[test]
    fn reference_to_an_item_that_was_made_here_is_refused() {
        let remove = |item: Value| {
            let body = json!({"input": [{"role": "user", "content": "a"}, item]});
            let unknown = &ModelCapabilities::UNKNOWN;
            fit_passed_request(body.to_string().as_bytes(), UpstreamProtocol::Responses, unknown)
        };
        for item in [
            json!({"type": "item_reference", "id": "ctc_chatcmpl-1_0"}),
            json!({"id": "msg_a_1"}),
            json!({"type": null, "id": "fc_a_12"}),
        ] {
            let error = remove(item.clone()).unwrap_err().to_string();
            let id = item["id"].as_str().unwrap();
            assert!(error.starts_with("input[1]: ") && error.contains(id), "{error}");
        }
        // The model can answer without its earlier reasoning.
        let reasoning = remove(json!({"type": "item_reference", "id": "rs_chatcmpl-1_0"})).unwrap();
        let expected = br#"{"input":[{"content":"a","role":"user"}]}"#;
        assert_eq!(reasoning.as_deref(), Some(&expected[..]));
        for item in [json!({"type": "item_reference", "id": "rs_68a1"}), json!({"id": "msg_68a2"})]
        {
            assert_eq!(remove(item), Ok(None));
        }
        let message = json!({"id": "msg_a_1", "role": "assistant", "content": "b"});
        assert!(remove(message).unwrap().is_some());
    }

    #[test]
    fn message_of_foreign_thinking_alone_is_left_out() {
        let body = json!({"messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": ""}]},
            {"role": "user", "content": "b"},
        ]});
        let cleaned = cleaned(&body, UpstreamProtocol::Messages).unwrap();
        assert_eq!(cleaned["messages"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn items_that_were_made_here_lose_their_ids_and_reasoning() {
        let own = |sealed: Value| json!({"type": "reasoning", "id": "rs_x", "summary": [], "encrypted_content": sealed});
        let body = json!({"input": [
            {"role": "user", "content": "a"},
            own("baton1_e30".into()),
            own(r#"{"type":"thinking","thinking":"a","signature":"b"}"#.into()),
            {"type": "reasoning", "id": "rs_chatcmpl-1_0", "summary": [], "encrypted_content": null},
            {"type": "function_call", "id": "fc_chatcmpl-1_1", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "{\"id\":\"msg_a_0\"}"},
            {"type": "reasoning", "id": "rs_68a1", "summary": [], "encrypted_content": "gAAAA"},
            {"type": "message", "id": "msg_68a2", "role": "assistant", "content": []},
        ]});
        let cleaned = cleaned(&body, UpstreamProtocol::Responses).unwrap();
        let mut call = body["input"][4].clone();
        call.as_object_mut().unwrap().remove("id");
        let rest =
            [&body["input"][0], &call, &body["input"][5], &body["input"][6], &body["input"][7]];
        assert_eq!(cleaned["input"], json!(rest));
    }
}
