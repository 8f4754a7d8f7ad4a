//! The messages of the fake upstream, as one JSON object or as events. Pure: values to bytes.

use bytes::Bytes;
use serde_json::{Value, json};

use super::ServedTokens;

/// The text of every plain answer. It has characters of one, two, three and four bytes.
pub(super) const HELLO: &str = "Hello wörld 你好 🦀 from the fake upstream.";
pub(super) const THOUGHT: &str = "Let me think about it.";
const SIGNATURE: &str = "c2lnLWZyb20tdGhlLWZha2UtdXBzdHJlYW0=";

/// One content block.
pub(super) enum Block {
    Thinking,
    Text(String),
    ToolUse { id: String, name: String, input: Value },
}

/// A whole message.
pub(super) struct Message {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) blocks: Vec<Block>,
    pub(super) usage: ServedTokens,
}

impl Message {
    fn stop_reason(&self) -> &'static str {
        let tool = self.blocks.iter().any(|block| matches!(block, Block::ToolUse { .. }));
        if tool { "tool_use" } else { "end_turn" }
    }

    /// The answer to a request without `stream`.
    pub(super) fn whole(&self) -> Value {
        let content: Vec<Value> = self.blocks.iter().map(Block::whole).collect();
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": content, "stop_reason": self.stop_reason(), "stop_sequence": null,
            "usage": self.usage.to_json(self.usage.output),
        })
    }

    /// The answer as events in order, one element for each event.
    pub(super) fn events(&self) -> Vec<Bytes> {
        let start = json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": [], "stop_reason": null, "stop_sequence": null,
            "usage": self.usage.to_json(1),
        });
        let mut events = vec![event("message_start", json!({"message": start})), ping()];
        for (index, block) in self.blocks.iter().enumerate() {
            let (empty, deltas) = block.parts();
            events.push(event(
                "content_block_start",
                json!({"index": index, "content_block": empty}),
            ));
            events.extend(deltas.iter().map(|delta| delta_event(index, delta)));
            events.push(event("content_block_stop", json!({"index": index})));
        }
        let delta = json!({"stop_reason": self.stop_reason(), "stop_sequence": null});
        let usage = json!({"output_tokens": self.usage.output});
        events.push(event("message_delta", json!({"delta": delta, "usage": usage})));
        events.push(event("message_stop", json!({})));
        events
    }
}

impl Block {
    fn whole(&self) -> Value {
        match self {
            Self::Thinking => {
                json!({"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE})
            }
            Self::Text(text) => json!({"type": "text", "text": text}),
            Self::ToolUse { id, name, input } => {
                json!({"type": "tool_use", "id": id, "name": name, "input": input})
            }
        }
    }

    /// The empty block, and the deltas that fill it.
    fn parts(&self) -> (Value, Vec<Value>) {
        match self {
            Self::Thinking => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                words(THOUGHT)
                    .map(|word| json!({"type": "thinking_delta", "thinking": word}))
                    .chain([json!({"type": "signature_delta", "signature": SIGNATURE})])
                    .collect(),
            ),
            Self::Text(text) => (
                json!({"type": "text", "text": ""}),
                words(text).map(|word| json!({"type": "text_delta", "text": word})).collect(),
            ),
            Self::ToolUse { id, name, input } => {
                let text = input.to_string();
                let deltas = words(&text)
                    .map(|word| json!({"type": "input_json_delta", "partial_json": word}))
                    .collect();
                (json!({"type": "tool_use", "id": id, "name": name, "input": {}}), deltas)
            }
        }
    }
}

pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

fn event(name: &str, mut fields: Value) -> Bytes {
    fields["type"] = name.into();
    format!("event: {name}\ndata: {fields}\n\n").into()
}

/// A delta with its keys in the order of the real API, which is the order that meters expect.
fn delta_event(index: usize, delta: &Value) -> Bytes {
    let mut delta = delta.clone();
    let kind = delta["type"].take();
    if let Value::Object(fields) = &mut delta {
        fields.remove("type");
    }
    let rest = delta.to_string();
    let rest = rest.trim_start_matches('{');
    let data = format!(
        "{{\"type\":\"content_block_delta\",\"index\":{index},\"delta\":{{\"type\":{kind},{rest}}}"
    );
    format!("event: content_block_delta\ndata: {data}\n\n").into()
}

/// The keep-alive event.
pub(super) fn ping() -> Bytes {
    event("ping", json!({}))
}

/// A comment line, the other kind of keep-alive.
pub(super) fn comment() -> Bytes {
    Bytes::from_static(b": keep-alive\n\n")
}
