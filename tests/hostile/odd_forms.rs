//! A right answer of each API, and how one of its odd forms is described.

use serde_json::{Value, json};

/// The word that a model has written in each answer.
pub(crate) const WORD: &str = "Hello";
/// The tokens that each answer reports.
pub(crate) const INPUT: u64 = 11;
/// The tokens of output that each answer reports.
pub(crate) const OUTPUT: u64 = 7;

/// The type of streams.
pub(crate) const SSE: &str = "text/event-stream";
/// The type of whole answers.
pub(crate) const JSON: &str = "application/json";

/// An API of upstreams.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Messages,
    Chat,
    Responses,
}

/// An answer in an odd form.
#[expect(clippy::struct_excessive_bools, reason = "independent properties")]
#[derive(Clone)]
pub(crate) struct Odd {
    pub(crate) name: String,
    pub(crate) body: String,
    pub(crate) content_type: &'static str,
    pub(crate) coding: &'static str,
    /// Whether the usage can be read.
    pub(crate) has_usage: bool,
    /// Whether the client need not get the word.
    pub(crate) is_silent: bool,
    /// Whether an error is no right answer.
    pub(crate) must_be_read: bool,
    /// Whether the events can be sent in Bedrock's frames.
    pub(crate) can_be_framed: bool,
    /// Whether the answer is not one of the API, so that another account may be asked.
    pub(crate) is_foreign: bool,
}

impl Odd {
    fn new(name: impl Into<String>, body: String, content_type: &'static str) -> Self {
        Self {
            name: name.into(),
            body,
            content_type,
            coding: "",
            has_usage: true,
            is_silent: false,
            must_be_read: true,
            can_be_framed: false,
            is_foreign: false,
        }
    }

    pub(crate) fn stream(name: impl Into<String>, body: String) -> Self {
        Self::new(name, body, SSE)
    }

    pub(crate) fn whole(name: impl Into<String>, body: impl std::fmt::Display) -> Self {
        Self::new(name, body.to_string(), JSON)
    }

    pub(crate) fn of_type(self, content_type: &'static str) -> Self {
        Self { content_type, ..self }
    }

    pub(crate) fn coded(self, coding: &'static str) -> Self {
        Self { coding, name: format!("{} as {coding:?}", self.name), ..self }
    }

    pub(crate) fn without_usage(self) -> Self {
        Self { has_usage: false, ..self }
    }

    pub(crate) fn silent(self) -> Self {
        Self { is_silent: true, ..self }
    }

    /// An error is a right answer, too.
    pub(crate) fn or_error(self) -> Self {
        Self { must_be_read: false, ..self }
    }

    /// Nothing in it is an answer of the API.
    pub(crate) fn foreign(self) -> Self {
        Self { is_foreign: true, ..self.or_error().silent() }
    }

    pub(crate) fn framed(self) -> Self {
        Self { can_be_framed: true, ..self }
    }
}

/// The events of a stream: a name or none, and the data.
pub(crate) type Events = Vec<(&'static str, Value)>;

/// The usage in an answer of this API.
pub(crate) fn usage(protocol: Protocol) -> Value {
    match protocol {
        Protocol::Messages => json!({"input_tokens": INPUT, "output_tokens": OUTPUT}),
        Protocol::Chat => json!({
            "prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT,
        }),
        Protocol::Responses => json!({
            "input_tokens": INPUT, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": OUTPUT, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": INPUT + OUTPUT,
        }),
    }
}

/// A chunk of Chat Completions.
pub(crate) fn chunk(delta: &Value, finish: &Value) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    })
}

/// The object with this field.
pub(crate) fn with(mut value: Value, name: &str, field: Value) -> Value {
    value[name] = field;
    value
}

/// The object without these fields.
pub(crate) fn without(mut value: Value, names: &[&str]) -> Value {
    for name in names {
        value.as_object_mut().expect("an object").remove(*name);
    }
    value
}

/// A usual whole answer.
pub(crate) fn whole(protocol: Protocol) -> Value {
    match protocol {
        Protocol::Messages => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
            "content": [{"type": "text", "text": WORD}], "stop_reason": "end_turn",
            "stop_sequence": null, "usage": usage(protocol),
        }),
        Protocol::Chat => json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o",
            "choices": [{
                "index": 0, "message": {"role": "assistant", "content": WORD},
                "finish_reason": "stop",
            }],
            "usage": usage(protocol),
        }),
        Protocol::Responses => json!({
            "id": "resp_1", "object": "response", "created_at": 1, "status": "completed",
            "model": "gpt-5.5", "error": null, "incomplete_details": null,
            "output": [{
                "id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": WORD, "annotations": []}],
            }],
            "usage": usage(protocol),
        }),
    }
}

/// A usual stream.
pub(crate) fn events(protocol: Protocol) -> Events {
    match protocol {
        Protocol::Messages => {
            let start = json!({"type": "message_start", "message": {
                "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
                "content": [], "usage": {"input_tokens": INPUT, "output_tokens": 1},
            }});
            let block = json!({"type": "text", "text": ""});
            vec![
                ("message_start", start),
                (
                    "content_block_start",
                    json!({"type": "content_block_start", "index": 0, "content_block": block}),
                ),
                ("ping", json!({"type": "ping"})),
                (
                    "content_block_delta",
                    json!({"type": "content_block_delta", "index": 0,
                        "delta": {"type": "text_delta", "text": WORD}}),
                ),
                ("content_block_stop", json!({"type": "content_block_stop", "index": 0})),
                (
                    "message_delta",
                    json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
                        "usage": {"output_tokens": OUTPUT}}),
                ),
                ("message_stop", json!({"type": "message_stop"})),
            ]
        }
        Protocol::Chat => vec![
            ("", chunk(&json!({"role": "assistant", "content": ""}), &Value::Null)),
            ("", chunk(&json!({"content": WORD}), &Value::Null)),
            ("", chunk(&json!({}), &json!("stop"))),
            (
                "",
                with(
                    with(chunk(&json!({}), &Value::Null), "choices", json!([])),
                    "usage",
                    usage(protocol),
                ),
            ),
        ],
        Protocol::Responses => {
            let response = whole(protocol);
            let begun = with(response.clone(), "status", json!("in_progress"));
            let begun = with(with(begun, "output", json!([])), "usage", Value::Null);
            let item = response["output"][0].clone();
            let place = json!({"item_id": "msg_1", "output_index": 0, "content_index": 0});
            let at = |kind: &str, name: &str, value: Value| {
                with(with(place.clone(), "type", json!(kind)), name, value)
            };
            let empty = with(item.clone(), "content", json!([]));
            let part = json!({"type": "output_text", "text": "", "annotations": []});
            let kinds = [
                json!({"type": "response.created", "response": begun}),
                json!({"type": "response.output_item.added", "output_index": 0, "item": empty}),
                at("response.content_part.added", "part", part),
                at("response.output_text.delta", "delta", json!(WORD)),
                at("response.output_text.done", "text", json!(WORD)),
                json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
                json!({"type": "response.completed", "response": response}),
            ];
            let names = [
                "response.created",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.output_item.done",
                "response.completed",
            ];
            names.into_iter().zip(kinds).collect()
        }
    }
}

/// An object whose type comes first, as the vendors write it.
fn typed_first(data: &Value) -> String {
    let Some(kind) = data.get("type") else { return data.to_string() };
    let rest = without(data.clone(), &["type"]).to_string();
    match rest.as_str() {
        "{}" => data.to_string(),
        rest => format!("{{\"type\":{kind},{}", &rest[1..]),
    }
}

/// The text of a stream.
pub(crate) fn sse(protocol: Protocol, events: &Events) -> String {
    let event = |(name, data): &(&str, Value)| match *name {
        "" => format!("data: {}\n\n", typed_first(data)),
        name => format!("event: {name}\ndata: {}\n\n", typed_first(data)),
    };
    let end = if protocol == Protocol::Chat { "data: [DONE]\n\n" } else { "" };
    events.iter().map(event).collect::<String>() + end
}

/// Fields that are no error.
pub(crate) fn harmless_fields() -> Vec<(&'static str, Value)> {
    vec![
        ("error", Value::Null),
        ("error", json!("")),
        ("error", json!({})),
        ("error", json!(false)),
        ("error", json!([])),
        ("error", json!({"code": 0, "message": ""})),
        ("code", json!(0)),
        ("message", json!("ok")),
        ("msg", json!("")),
        ("detail", Value::Null),
        ("status", json!("success")),
        ("base_resp", json!({"status_code": 0, "status_msg": ""})),
        ("obfuscation", json!("aB3")),
    ]
}

/// Words in `content-encoding` that name no coding, or gzip.
const READABLE: [&str; 15] = [
    "identity",
    "none",
    "None",
    "utf-8",
    "UTF8",
    "aws-chunked",
    "chunked",
    "null",
    "8bit",
    "binary",
    "gzip",
    "x-gzip",
    "GZip",
    "gzip, identity",
    "none, gzip",
];

/// Codings that only the client can read.
const OPAQUE: [&str; 6] = ["br", "deflate", "zstd", "compress", "gzip, gzip", "gzip, br"];

/// Headers of gateways that decompress an answer and keep them.
const PLAIN: [&str; 3] = ["gzip ", "br ", "deflate, gzip"];

/// The same answer in each coding.
pub(crate) fn coded(odd: &Odd) -> Vec<Odd> {
    let mut all: Vec<_> = READABLE.map(|coding| odd.clone().coded(coding)).into();
    all.extend(OPAQUE.map(|coding| odd.clone().coded(coding).silent().without_usage().or_error()));
    all.extend(PLAIN.map(|coding| odd.clone().coded(coding)));
    all
}
