//! Answers of Chat Completions, with what each vendor adds.

use super::{Answer, AnswerBody, AnswerPlan, EVENTS, JSON, PlannedCall, halves};
use crate::Vendor;
use crate::request::AcceptedRequest;
use crate::state::seal;
use bytes::Bytes;
use serde_json::{Value, json};

pub(super) fn write(vendor: Vendor, plan: &AnswerPlan, accepted: &AcceptedRequest) -> Answer {
    let usage = usage(vendor, plan);
    let finish = if plan.calls.is_empty() { "stop" } else { "tool_calls" };
    let base = |object: &str| {
        json!({
            "id": format!("chatcmpl-Twin{:020}", plan.serial),
            "object": object,
            "created": 1_795_000_000 + plan.serial,
            "model": accepted.model,
        })
    };
    if !accepted.is_stream {
        let mut body = base("chat.completion");
        let message = message(vendor, plan);
        body["choices"] = json!([{"index": 0, "message": message, "finish_reason": finish}]);
        body["usage"] = usage.clone();
        return Answer { content_type: JSON, body: AnswerBody::Whole(body), usage };
    }
    let mut deltas = vec![json!({"role": "assistant", "content": ""})];
    let field = reasoning_field(vendor);
    if let (Some(field), Some(thinking)) = (field, &plan.thinking) {
        deltas.extend(halves(thinking).map(|piece| json!({field: piece})));
    }
    if let (Vendor::Mistral, Some(thinking)) = (vendor, &plan.thinking) {
        deltas.extend(halves(thinking).map(|piece| json!({"content": [mistral_thought(piece)]})));
    }
    deltas.extend(halves(&plan.text).map(|piece| json!({"content": piece})));
    for (index, call) in plan.calls.iter().enumerate() {
        push_call(vendor, &mut deltas, index, call);
    }
    let chunk = |delta: Value, finish: Option<&str>| {
        let mut chunk = base("chat.completion.chunk");
        chunk["choices"] = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        chunk
    };
    let mut chunks: Vec<Value> = deltas.into_iter().map(|delta| chunk(delta, None)).collect();
    chunks.push(chunk(json!({}), Some(finish)));
    if accepted.includes_usage {
        if vendor == Vendor::Mistral {
            if let Some(last) = chunks.last_mut() {
                last["usage"] = usage.clone();
            }
        } else {
            let mut last = base("chat.completion.chunk");
            last["choices"] = json!([]);
            last["usage"] = usage.clone();
            chunks.push(last);
        }
    }
    let mut events: Vec<Bytes> =
        chunks.iter().map(|chunk| Bytes::from(format!("data: {chunk}\n\n"))).collect();
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    Answer { content_type: EVENTS, body: AnswerBody::Events(events), usage }
}

/// The field of the text of thinking, if the vendor tells it (DeepSeek: "Thinking mode"; vLLM:
/// "Reasoning outputs", 2026-11).
fn reasoning_field(vendor: Vendor) -> Option<&'static str> {
    match vendor {
        Vendor::DeepSeek => Some("reasoning_content"),
        Vendor::Qwen => Some("reasoning"),
        Vendor::Anthropic | Vendor::Bedrock | Vendor::Openai | Vendor::Gemini | Vendor::Mistral => {
            None
        }
    }
}

/// A part of Mistral's content with thinking (docs.mistral.ai, "Reasoning", 2026-11).
fn mistral_thought(text: &str) -> Value {
    json!({"type": "thinking", "thinking": [{"type": "text", "text": text}]})
}

fn message(vendor: Vendor, plan: &AnswerPlan) -> Value {
    let mut message = json!({"role": "assistant", "content": plan.text});
    if let (Vendor::Mistral, Some(thinking)) = (vendor, &plan.thinking) {
        message["content"] =
            json!([mistral_thought(thinking), {"type": "text", "text": plan.text}]);
    }
    if let (Some(field), Some(thinking)) = (reasoning_field(vendor), &plan.thinking) {
        message[field] = thinking.as_str().into();
    }
    if !plan.calls.is_empty() {
        message["content"] = match (vendor, &plan.thinking) {
            (Vendor::Mistral, Some(thinking)) => json!([mistral_thought(thinking)]),
            _ => Value::Null,
        };
        let calls = plan.calls.iter().enumerate();
        message["tool_calls"] = calls.map(|(index, it)| call(vendor, index, it)).collect();
    }
    message
}

/// A call, with Gemini's signature on the first one ("Thought signatures", 2026-11).
fn call(vendor: Vendor, index: usize, planned: &PlannedCall) -> Value {
    let mut call = match &planned.arguments {
        Ok(arguments) => json!({
            "id": planned.id, "type": "function",
            "function": {"name": planned.name, "arguments": arguments.to_string()},
        }),
        Err(text) => json!({
            "id": planned.id, "type": "custom",
            "custom": {"name": planned.name, "input": text},
        }),
    };
    if vendor == Vendor::Gemini && index == 0 {
        let signature = seal(crate::gemini::SIGNATURE, &[&planned.name]);
        call["extra_content"] = json!({"google": {"thought_signature": signature}});
    }
    call
}

/// A call in a stream. Gemini sends whole arguments and numbers every call 0 (NousResearch/hermes-agent
/// #62940).
fn push_call(vendor: Vendor, deltas: &mut Vec<Value>, index: usize, planned: &PlannedCall) {
    let mut whole = call(vendor, index, planned);
    whole["index"] = if vendor == Vendor::Gemini { 0 } else { index }.into();
    if vendor == Vendor::Gemini {
        deltas.push(json!({"tool_calls": [whole]}));
        return;
    }
    let (kind, field) = match planned.arguments {
        Ok(_) => ("function", "arguments"),
        Err(_) => ("custom", "input"),
    };
    let text = whole[kind][field].as_str().unwrap_or_default().to_owned();
    whole[kind][field] = "".into();
    deltas.push(json!({"tool_calls": [whole]}));
    for piece in halves(&text) {
        deltas.push(json!({"tool_calls": [{"index": index, kind: {field: piece}}]}));
    }
}

fn usage(vendor: Vendor, plan: &AnswerPlan) -> Value {
    let counts = plan.usage;
    let prompt = counts.input + counts.cached;
    let mut usage = json!({
        "prompt_tokens": prompt,
        "completion_tokens": counts.output,
        "total_tokens": prompt + counts.output,
        "prompt_tokens_details": {"cached_tokens": counts.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": counts.thinking, "audio_tokens": 0},
    });
    if vendor == Vendor::Gemini {
        // Thinking is neither a part of the answer nor in the details. Only the total has it
        // (Clarifai/clarifai-python #978; discuss.ai.google.dev, topic 127400).
        usage["completion_tokens"] = (counts.output - counts.thinking).into();
        if let Some(usage) = usage.as_object_mut() {
            usage.remove("completion_tokens_details");
        }
    }
    if vendor == Vendor::DeepSeek {
        usage["prompt_cache_hit_tokens"] = counts.cached.into();
        usage["prompt_cache_miss_tokens"] = counts.input.into();
    }
    usage
}
