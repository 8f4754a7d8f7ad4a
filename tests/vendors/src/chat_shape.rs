//! What all vendors read in a Chat Completions request in the same way.

use crate::request::{AcceptedRequest, Dialect, ForcedTool, OfferedTool, VendorRequest};
use serde_json::Value;

/// The messages.
pub(crate) fn messages(request: &VendorRequest) -> &[Value] {
    request.body["messages"].as_array().map_or(&[], Vec::as_slice)
}

/// The role of a message.
pub(crate) fn role(message: &Value) -> &str {
    message["role"].as_str().unwrap_or_default()
}

/// The calls of an assistant's message.
pub(crate) fn calls(message: &Value) -> &[Value] {
    message["tool_calls"].as_array().map_or(&[], Vec::as_slice)
}

/// The parts of a message whose content is a list.
pub(crate) fn parts(message: &Value) -> &[Value] {
    message["content"].as_array().map_or(&[], Vec::as_slice)
}

/// The text of a content, in whatever form.
pub(crate) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        content => {
            let parts = content.as_array().into_iter().flatten();
            parts.filter_map(|part| part["text"].as_str()).collect()
        }
    }
}

/// The id of the first call without an answer before another message, and the first answer without
/// a call, each with the index of its message.
pub(crate) enum PairFault {
    Unanswered { index: usize, id: String },
    Orphan { index: usize },
}

/// Checks that each call is answered directly after its message, and that nothing else is answered.
pub(crate) fn check_pairs(messages: &[Value]) -> Result<(), PairFault> {
    let (mut open, mut from): (Vec<&str>, usize) = (Vec::new(), 0);
    let mut known: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        if role(message) == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            if !known.contains(&id) {
                return Err(PairFault::Orphan { index });
            }
            open.retain(|call| *call != id);
            continue;
        }
        if let Some(id) = open.first() {
            return Err(PairFault::Unanswered { index: from, id: (*id).to_owned() });
        }
        known = calls(message).iter().filter_map(|call| call["id"].as_str()).collect();
        (open, from) = (known.clone(), index);
    }
    open.first()
        .map_or(Ok(()), |id| Err(PairFault::Unanswered { index: from, id: (*id).to_owned() }))
}

/// The fields that the body has and the vendor does not know.
pub(crate) fn unknown_field<'a>(value: &'a Value, known: &[&str]) -> Option<&'a str> {
    let keys = value.as_object()?.keys().map(String::as_str);
    keys.into_iter().find(|key| !known.contains(key))
}

/// The schema that a text of the system has. A model follows it without being bound to it.
fn schema_in_prompt(request: &VendorRequest) -> Option<Value> {
    let systems = messages(request).iter().filter(|message| role(message) == "system");
    systems.map(|message| text_of(&message["content"])).find_map(|text| {
        let given = &text[text.find('{')?..];
        let mut values = serde_json::Deserializer::from_str(given).into_iter::<Value>();
        values.next()?.ok().filter(|schema| schema["type"] == "object")
    })
}

/// What the answer to an accepted Chat request depends on.
pub(crate) fn accept(request: &VendorRequest, model: &str, thinks: bool) -> AcceptedRequest {
    let body = &request.body;
    let last = messages(request).iter().rfind(|message| role(message) != "system");
    let last = last.filter(|message| role(message) == "user");
    let tools = body["tools"].as_array().into_iter().flatten();
    let tools = tools.filter_map(|tool| {
        let (definition, is_custom) = match tool["type"].as_str() {
            Some("custom") => (&tool["custom"], true),
            _ => (&tool["function"], false),
        };
        let schema = definition.get("parameters").cloned().unwrap_or_else(|| serde_json::json!({}));
        let name = definition["name"].as_str()?.to_owned();
        Some(OfferedTool { name, schema: (!is_custom).then_some(schema) })
    });
    let forced = match &body["tool_choice"] {
        Value::String(word) if ["required", "any"].contains(&word.as_str()) => {
            Some(ForcedTool::Any)
        }
        choice => {
            choice["function"]["name"].as_str().map(|name| ForcedTool::Named(name.to_owned()))
        }
    };
    let format = &body["response_format"];
    let schema = match format["type"].as_str() {
        Some("json_schema") => Some(format["json_schema"]["schema"].clone()),
        Some("json_object") => {
            Some(schema_in_prompt(request).unwrap_or_else(|| serde_json::json!({"type": "object"})))
        }
        _ => None,
    };
    AcceptedRequest {
        last_text: last.map(|message| text_of(&message["content"])),
        tools: if body["tool_choice"] == "none" { Vec::new() } else { tools.collect() },
        forced_tool: forced,
        thinks,
        answer_schema: schema,
        ..AcceptedRequest::new(Dialect::Chat, request, model).hearing(messages(request))
    }
}
