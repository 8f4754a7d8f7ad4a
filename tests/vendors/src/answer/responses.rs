//! Answers of Responses (`Response` and the events of openai/openai-openapi f85dbe2, 2026-08-21).

use super::{Answer, AnswerBody, AnswerPlan, EVENTS, JSON, event, halves};
use crate::openai::REASONING;
use crate::request::AcceptedRequest;
use crate::state::{TwinState, seal};
use bytes::Bytes;
use serde_json::{Value, json};

pub(super) fn write(
    plan: &AnswerPlan,
    accepted: &AcceptedRequest,
    state: &mut TwinState,
) -> Answer {
    let output = output(plan, accepted);
    let id = format!("resp_Twin{:020}", plan.serial);
    if accepted.is_stored {
        let items = accepted.conversation.iter().chain(&output).cloned().collect();
        state.responses.insert((accepted.account.clone(), id.clone()), items);
    }
    let counts = plan.usage;
    let prompt = counts.input + counts.cached;
    let usage = json!({
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": counts.cached},
        "output_tokens": counts.output,
        "output_tokens_details": {"reasoning_tokens": counts.thinking},
        "total_tokens": prompt + counts.output,
    });
    let response = |status: &str, output: &[Value], usage: &Value| {
        json!({
            "id": id, "object": "response", "created_at": 1_795_000_000 + plan.serial,
            "status": status, "model": accepted.model, "output": output, "usage": usage,
            "error": null, "incomplete_details": null, "instructions": null, "metadata": {},
            "parallel_tool_calls": true, "temperature": 1.0, "tool_choice": "auto", "tools": [],
            "top_p": 1.0, "store": accepted.is_stored, "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null}, "service_tier": "default",
            "text": {"format": {"type": "text"}}, "truncation": "disabled",
        })
    };
    if !accepted.is_stream {
        let body = AnswerBody::Whole(response("completed", &output, &usage));
        return Answer { content_type: JSON, body, usage };
    }
    let begun = response("in_progress", &[], &Value::Null);
    let mut events = EventList::default();
    events.push("response.created", json!({"response": begun}));
    events.push("response.in_progress", json!({"response": begun}));
    for (index, item) in output.iter().enumerate() {
        events.push_item(index, item);
    }
    let done = response("completed", &output, &usage);
    events.push("response.completed", json!({"response": done}));
    Answer { content_type: EVENTS, body: AnswerBody::Events(events.0), usage }
}

fn output(plan: &AnswerPlan, accepted: &AcceptedRequest) -> Vec<Value> {
    let mut output = Vec::new();
    let serial = plan.serial;
    if plan.thinking.is_some() {
        let mut item =
            json!({"type": "reasoning", "id": format!("rs_Twin{serial}"), "summary": []});
        if accepted.encrypts_reasoning {
            item["encrypted_content"] = seal(REASONING, &[&accepted.account]).into();
        }
        output.push(item);
    }
    if !plan.text.is_empty() {
        let part = json!({
            "type": "output_text", "text": plan.text, "annotations": [], "logprobs": [],
        });
        output.push(json!({
            "type": "message", "id": format!("msg_Twin{serial}"), "role": "assistant",
            "status": "completed", "content": [part],
        }));
    }
    for (index, call) in plan.calls.iter().enumerate() {
        output.push(match &call.arguments {
            Ok(arguments) => json!({
                "type": "function_call", "id": format!("fc_Twin{serial}{index}"),
                "call_id": call.id, "name": call.name, "arguments": arguments.to_string(),
                "status": "completed",
            }),
            Err(text) => json!({
                "type": "custom_tool_call", "id": format!("ctc_Twin{serial}{index}"),
                "call_id": call.id, "name": call.name, "input": text, "status": "completed",
            }),
        });
    }
    output
}

/// Events with their numbers.
#[derive(Default)]
struct EventList(Vec<Bytes>);

impl EventList {
    fn push(&mut self, name: &str, mut data: Value) {
        data["type"] = name.into();
        data["sequence_number"] = self.0.len().into();
        self.0.push(event(name, &data));
    }

    fn push_item(&mut self, index: usize, item: &Value) {
        let mut begun = item.clone();
        begun["status"] = "in_progress".into();
        for field in ["content", "arguments", "input"] {
            if let Some(value) = begun.get_mut(field) {
                *value = if value.is_array() { json!([]) } else { json!("") };
            }
        }
        self.push("response.output_item.added", json!({"output_index": index, "item": begun}));
        let of = |more: Value| {
            let mut data = json!({"item_id": item["id"], "output_index": index});
            for (name, value) in more.as_object().into_iter().flatten() {
                data[name] = value.clone();
            }
            data
        };
        match item["type"].as_str().unwrap_or_default() {
            "message" => {
                let part = &item["content"][0];
                let mut empty = part.clone();
                empty["text"] = "".into();
                let text = part["text"].as_str().unwrap_or_default();
                self.push(
                    "response.content_part.added",
                    of(json!({"content_index": 0, "part": empty})),
                );
                for piece in halves(text) {
                    let data = json!({"content_index": 0, "delta": piece, "logprobs": []});
                    self.push("response.output_text.delta", of(data));
                }
                let data = json!({"content_index": 0, "text": text, "logprobs": []});
                self.push("response.output_text.done", of(data));
                self.push(
                    "response.content_part.done",
                    of(json!({"content_index": 0, "part": part})),
                );
            }
            "function_call" => {
                let text = item["arguments"].as_str().unwrap_or_default();
                for piece in halves(text) {
                    self.push(
                        "response.function_call_arguments.delta",
                        of(json!({"delta": piece})),
                    );
                }
                let data = json!({"arguments": text, "name": item["name"]});
                self.push("response.function_call_arguments.done", of(data));
            }
            "custom_tool_call" => {
                let text = item["input"].as_str().unwrap_or_default();
                for piece in halves(text) {
                    self.push("response.custom_tool_call_input.delta", of(json!({"delta": piece})));
                }
                self.push("response.custom_tool_call_input.done", of(json!({"input": text})));
            }
            _ => {}
        }
        self.push("response.output_item.done", json!({"output_index": index, "item": item}));
    }
}
