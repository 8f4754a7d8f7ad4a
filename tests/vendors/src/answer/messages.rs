//! Answers of the Messages API, and of Bedrock.

use super::frames::frame;
use super::{Answer, AnswerBody, AnswerPlan, EVENTS, JSON, event, halves};
use crate::anthropic::{Claude, SIGNATURE};
use crate::request::{AcceptedRequest, Dialect};
use crate::state::{TwinState, seal};
use serde_json::{Value, json};

pub(super) fn write(
    plan: &AnswerPlan,
    accepted: &AcceptedRequest,
    state: &mut TwinState,
) -> Answer {
    let content = content(plan, accepted);
    let id = format!("msg_01Twin{:016}", plan.serial);
    if accepted.is_stored {
        let mut thread = accepted.conversation.clone();
        thread.push(json!({"role": "assistant", "content": content}));
        state.threads.insert((accepted.account.clone(), id.clone()), thread);
    }
    let usage = plan.usage;
    let usage = json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": usage.output,
        "service_tier": "standard",
    });
    let stop = if plan.calls.is_empty() { "end_turn" } else { "tool_use" };
    let message = |content: &[Value], stop: Option<&str>, usage: &Value| {
        json!({
            "id": id, "type": "message", "role": "assistant", "model": accepted.model,
            "content": content, "stop_reason": stop, "stop_sequence": null, "usage": usage,
        })
    };
    if !accepted.is_stream {
        let body = AnswerBody::Whole(message(&content, Some(stop), &usage));
        return Answer { content_type: JSON, body, usage };
    }
    let mut first = usage.clone();
    first["output_tokens"] = 1.into();
    let mut events = vec![json!({"type": "message_start", "message": message(&[], None, &first)})];
    events.push(json!({"type": "ping"}));
    for (index, block) in content.iter().enumerate() {
        push_block(&mut events, index, block);
    }
    events.push(json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop, "stop_sequence": null},
        "usage": usage,
    }));
    events.push(json!({"type": "message_stop"}));
    if accepted.dialect == Dialect::BedrockFrames {
        let body = AnswerBody::Events(events.iter().map(frame).collect());
        return Answer { content_type: "application/vnd.amazon.eventstream", body, usage };
    }
    let named = events.iter().map(|it| event(it["type"].as_str().unwrap_or_default(), it));
    Answer { content_type: EVENTS, body: AnswerBody::Events(named.collect()), usage }
}

fn content(plan: &AnswerPlan, accepted: &AcceptedRequest) -> Vec<Value> {
    let mut content = Vec::new();
    if let Some(thinking) = &plan.thinking {
        let thinking = if accepted.shows_thinking { thinking.as_str() } else { "" };
        let is_bound =
            Claude::parse(&accepted.model).is_some_and(Claude::binds_thinking_to_account);
        let signature = if is_bound {
            seal(SIGNATURE, &[thinking, &accepted.account])
        } else {
            seal(SIGNATURE, &[thinking])
        };
        content.push(json!({"type": "thinking", "thinking": thinking, "signature": signature}));
    }
    if !plan.text.is_empty() {
        content.push(json!({"type": "text", "text": plan.text}));
    }
    for call in &plan.calls {
        let input = call.arguments.clone().unwrap_or_else(|text| json!({"input": text}));
        content.push(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input}));
    }
    content
}

fn push_block(events: &mut Vec<Value>, index: usize, block: &Value) {
    let kind = block["type"].as_str().unwrap_or_default();
    let (empty, delta, text): (Value, &str, String) = match kind {
        "thinking" => {
            let text = block["thinking"].as_str().unwrap_or_default();
            let empty = json!({"type": "thinking", "thinking": "", "signature": ""});
            (empty, "thinking", text.to_owned())
        }
        "tool_use" => {
            let mut empty = block.clone();
            empty["input"] = json!({});
            (empty, "input_json", block["input"].to_string())
        }
        _ => {
            let text = block["text"].as_str().unwrap_or_default();
            (json!({"type": "text", "text": ""}), "text", text.to_owned())
        }
    };
    let field = if delta == "input_json" { "partial_json" } else { delta };
    events.push(json!({"type": "content_block_start", "index": index, "content_block": empty}));
    for piece in halves(&text).into_iter().filter(|piece| !piece.is_empty()) {
        let delta = json!({"type": format!("{delta}_delta"), field: piece});
        events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
    }
    if let Some(signature) = block["signature"].as_str() {
        let delta = json!({"type": "signature_delta", "signature": signature});
        events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
    }
    events.push(json!({"type": "content_block_stop", "index": index}));
}
