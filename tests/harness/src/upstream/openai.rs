//! The OpenAI side of the upstream: Chat Completions and Responses, whole and as events. Pure:
//! values to bytes.

use bytes::Bytes;
use serde_json::{Value, json};

use super::content::{Block, Message, THOUGHT, words};
use super::{RecordedRequest, ServedTokens};

/// The API of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Messages,
    Chat,
    Responses,
}

impl Form {
    pub(super) fn of(request: &RecordedRequest) -> Self {
        match request.path() {
            "/v1/chat/completions" => Self::Chat,
            "/v1/responses" => Self::Responses,
            _ => Self::Messages,
        }
    }

    /// The usage of an answer to this body. OpenAI does not bill cache writes.
    pub(super) fn usage(self, body: &[u8]) -> ServedTokens {
        let usage = ServedTokens::of_body(body);
        match self {
            Self::Messages => usage,
            Self::Chat | Self::Responses => {
                ServedTokens { cache_write_5m: 0, cache_write_1h: 0, ..usage }
            }
        }
    }

    /// The body of an invented error.
    pub(super) fn error(self, kind: &str, message: &str) -> Value {
        match self {
            Self::Messages => json!({"type": "error", "error": {"type": kind, "message": message}}),
            Self::Chat | Self::Responses => {
                json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
            }
        }
    }

    /// The same as an event.
    pub(super) fn error_event(self, kind: &str, message: &str) -> Bytes {
        let name = if self == Self::Messages { "event: error\n" } else { "" };
        format!("{name}data: {}\n\n", self.error(kind, message)).into()
    }

    pub(super) fn whole(self, message: &Message) -> Value {
        match self {
            Self::Messages => message.whole(),
            Self::Chat => completion(message),
            Self::Responses => response(message, "completed"),
        }
    }

    /// The answer as events in order, one element for each event.
    pub(super) fn events(self, message: &Message, body: &Value) -> Vec<Bytes> {
        match self {
            Self::Messages => message.events(),
            Self::Chat => chunks(message, body["stream_options"]["include_usage"] == true),
            Self::Responses => response_events(message),
        }
    }
}

/// The result of a tool that the request reports, in any format.
pub(super) fn tool_result(body: &Value) -> Option<String> {
    let last = |list: &str| body[list].as_array().and_then(|list| list.last().cloned());
    if let Some(message) = last("messages").filter(|message| message["role"] == "tool") {
        return Some(text_of(&message["content"]));
    }
    let output = last("input").filter(|item| {
        matches!(item["type"].as_str(), Some("function_call_output" | "custom_tool_call_output"))
    });
    output.map(|item| text_of(&item["output"]))
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        other => other[0]["text"].as_str().unwrap_or_default().to_owned(),
    }
}

fn usage(usage: ServedTokens) -> Value {
    let prompt = usage.input + usage.cache_read;
    json!({
        "prompt_tokens": prompt, "completion_tokens": usage.output,
        "total_tokens": prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": 3},
    })
}

fn text(message: &Message) -> String {
    let texts = message.blocks.iter().filter_map(|block| match block {
        Block::Text(text) => Some(text.as_str()),
        Block::Thinking | Block::ToolUse { .. } => None,
    });
    texts.collect()
}

fn calls(message: &Message) -> Vec<Value> {
    let calls = message.blocks.iter().filter_map(|block| match block {
        Block::ToolUse { id, name, input } => Some(json!({
            "id": id, "type": "function",
            "function": {"name": name, "arguments": input.to_string()},
        })),
        Block::Thinking | Block::Text(_) => None,
    });
    calls.collect()
}

fn finish_reason(message: &Message) -> &'static str {
    if calls(message).is_empty() { "stop" } else { "tool_calls" }
}

fn completion(message: &Message) -> Value {
    let mut said = json!({"role": "assistant", "content": text(message), "refusal": null});
    if !calls(message).is_empty() {
        said["tool_calls"] = calls(message).into();
    }
    json!({
        "id": message.id, "object": "chat.completion", "created": 1_795_000_000, "model": message.model,
        "choices": [{
            "index": 0, "message": said, "logprobs": null, "finish_reason": finish_reason(message),
        }],
        "usage": usage(message.usage),
    })
}

fn chunks(message: &Message, include_usage: bool) -> Vec<Bytes> {
    let chunk = |choices: Value, counts: Option<Value>| -> Bytes {
        let mut chunk = json!({
            "id": message.id, "object": "chat.completion.chunk", "created": 1_795_000_000,
            "model": message.model, "choices": choices,
        });
        if include_usage {
            chunk["usage"] = counts.unwrap_or_default();
        }
        format!("data: {chunk}\n\n").into()
    };
    let delta =
        |delta: Value| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]), None);
    let mut events = vec![delta(json!({"role": "assistant", "content": ""}))];
    for block in &message.blocks {
        match block {
            Block::Thinking => {
                events.extend(words(THOUGHT).map(|word| delta(json!({"reasoning_content": word}))));
            }
            Block::Text(text) => {
                events.extend(words(text).map(|word| delta(json!({"content": word}))));
            }
            Block::ToolUse { id, name, input } => {
                let call = json!({"index": 0, "id": id, "type": "function",
                    "function": {"name": name, "arguments": ""}});
                events.push(delta(json!({"tool_calls": [call]})));
                let input = input.to_string();
                events.extend(words(&input).map(|word| {
                    let call = json!({"index": 0, "function": {"arguments": word}});
                    delta(json!({"tool_calls": [call]}))
                }));
            }
        }
    }
    let reason = finish_reason(message);
    events.push(chunk(json!([{"index": 0, "delta": {}, "finish_reason": reason}]), None));
    if include_usage {
        events.push(chunk(json!([]), Some(usage(message.usage))));
    }
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

fn response(message: &Message, status: &str) -> Value {
    let usage = message.usage;
    let prompt = usage.input + usage.cache_read;
    let is_done = status == "completed";
    let counts = json!({
        "input_tokens": prompt, "output_tokens": usage.output,
        "total_tokens": prompt + usage.output,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens_details": {"reasoning_tokens": 3},
    });
    json!({
        "id": message.id, "object": "response", "created_at": 1_795_000_000, "status": status,
        "model": message.model, "output": if is_done { items(message) } else { Vec::new() },
        "parallel_tool_calls": true, "tool_choice": "auto", "tools": [], "error": null,
        "incomplete_details": null, "usage": if is_done { counts } else { Value::Null },
    })
}

fn items(message: &Message) -> Vec<Value> {
    let item = |(index, block): (usize, &Block)| match block {
        Block::Thinking => json!({"type": "reasoning", "id": format!("rs_{index}"), "summary": []}),
        Block::Text(text) => json!({
            "type": "message", "id": format!("msg_{index}"), "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        }),
        Block::ToolUse { id, name, input } => json!({
            "type": "function_call", "id": format!("fc_{index}"), "call_id": id, "name": name,
            "arguments": input.to_string(), "status": "completed",
        }),
    };
    message.blocks.iter().enumerate().map(item).collect()
}

fn response_events(message: &Message) -> Vec<Bytes> {
    let mut events = vec![json!({
        "type": "response.created", "response": response(message, "in_progress"),
    })];
    for (index, item) in items(message).into_iter().enumerate() {
        let mut begun = item.clone();
        begun["status"] = "in_progress".into();
        if item["type"] == "message" {
            begun["content"] = json!([]);
        }
        events.push(json!({
            "type": "response.output_item.added", "output_index": index, "item": begun,
        }));
        if let Some(part) = item["content"].get(0) {
            let text = part["text"].as_str().unwrap_or_default();
            let place = json!({"output_index": index, "content_index": 0, "item_id": item["id"]});
            let with = |kind: &str, name: &str, value: Value| {
                let mut event = place.clone();
                event["type"] = kind.into();
                event[name] = value;
                event
            };
            let empty = json!({"type": "output_text", "text": "", "annotations": []});
            events.push(with("response.content_part.added", "part", empty));
            let delta = |word: &str| with("response.output_text.delta", "delta", word.into());
            events.extend(words(text).map(delta));
            events.push(with("response.output_text.done", "text", text.into()));
            events.push(with("response.content_part.done", "part", part.clone()));
        }
        events.push(json!({
            "type": "response.output_item.done", "output_index": index, "item": item,
        }));
    }
    events.push(json!({"type": "response.completed", "response": response(message, "completed")}));
    let numbered = events.into_iter().enumerate().map(|(number, mut event)| {
        event["sequence_number"] = number.into();
        let name = event["type"].as_str().unwrap_or_default().to_owned();
        Bytes::from(format!("event: {name}\ndata: {event}\n\n"))
    });
    numbered.collect()
}
