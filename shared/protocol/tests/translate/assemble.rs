//! Builds the value that a client gets from a stream by the rules of the SDKs. It must equal the
//! whole answer.

use serde_json::{Map, Value, json};

/// The names and data of a stream's events, without comments.
fn events(stream: &str) -> Vec<(String, String)> {
    let blocks = stream.split("\n\n").filter(|block| !block.is_empty() && !block.starts_with(':'));
    let event = |block: &str| {
        let (mut name, mut data) = (String::new(), String::new());
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("event", value)) => value.clone_into(&mut name),
                Some(("data", value)) => value.clone_into(&mut data),
                other => panic!("{other:?} in {block}"),
            }
        }
        (name, data)
    };
    blocks.map(event).collect()
}

fn grow(slot: &mut Value, delta: &Value) {
    let text = slot.as_str().unwrap_or_default().to_owned() + delta.as_str().unwrap();
    *slot = text.into();
}

/// The message of a Messages stream, which must be well formed.
pub(crate) fn message(stream: &str) -> Value {
    let (mut message, mut open, mut input) = (Value::Null, None, String::new());
    let mut is_over = false;
    for (name, data) in events(stream) {
        let data: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(data["type"], name.as_str());
        assert!(!is_over, "after the end: {name}");
        assert_eq!(message.is_null(), name == "message_start", "{name}");
        match name.as_str() {
            "message_start" => message = data["message"].clone(),
            "content_block_start" => {
                let blocks = message["content"].as_array_mut().unwrap();
                assert_eq!((open, data["index"].as_u64()), (None, Some(blocks.len() as u64)));
                open = data["index"].as_u64();
                blocks.push(data["content_block"].clone());
                input.clear();
            }
            "content_block_delta" | "content_block_stop" => {
                assert_eq!(open, data["index"].as_u64());
                let block = message["content"].as_array_mut().unwrap().last_mut().unwrap();
                let delta = &data["delta"];
                match delta["type"].as_str() {
                    Some("text_delta") => grow(&mut block["text"], &delta["text"]),
                    Some("thinking_delta") => grow(&mut block["thinking"], &delta["thinking"]),
                    Some("signature_delta") => block["signature"] = delta["signature"].clone(),
                    Some("input_json_delta") => input += delta["partial_json"].as_str().unwrap(),
                    other => assert_eq!((name.as_str(), other), ("content_block_stop", None)),
                }
                if name == "content_block_stop" {
                    open = None;
                    if block["type"] == "tool_use" && !input.is_empty() {
                        block["input"] = serde_json::from_str(&input).unwrap();
                    }
                }
            }
            "message_delta" => {
                for (field, value) in data["delta"].as_object().unwrap() {
                    message[field] = value.clone();
                }
                message["usage"] = data["usage"].clone();
            }
            "message_stop" => is_over = true,
            other => assert_eq!(other, "ping"),
        }
    }
    assert!(is_over && open.is_none(), "{stream}");
    message
}

/// The completion of a chat stream, which must be well formed.
pub(crate) fn completion(stream: &str) -> Value {
    let mut message = Map::new();
    let (mut whole, mut calls, mut finish) = (json!({}), Vec::<Value>::new(), Value::Null);
    let mut is_over = false;
    for (name, data) in events(stream) {
        assert!(name.is_empty() && !is_over, "{name}");
        if data == "[DONE]" {
            is_over = true;
            continue;
        }
        let chunk: Value = serde_json::from_str(&data).unwrap();
        for field in ["id", "created", "model", "usage"] {
            if !chunk[field].is_null() {
                whole[field] = chunk[field].clone();
            }
        }
        let Some(choice) = chunk["choices"].get(0) else { continue };
        assert!(finish.is_null(), "after the finish: {data}");
        finish = choice["finish_reason"].clone();
        for (field, delta) in choice["delta"].as_object().unwrap() {
            match field.as_str() {
                "role" => {
                    message.insert(field.clone(), delta.clone());
                }
                "tool_calls" => {
                    let delta = &delta[0];
                    let index = usize::try_from(delta["index"].as_u64().unwrap()).unwrap();
                    if index == calls.len() {
                        calls.push(delta.clone());
                        calls[index].as_object_mut().unwrap().remove("index");
                    } else {
                        let arguments = &mut calls[index]["function"]["arguments"];
                        grow(arguments, &delta["function"]["arguments"]);
                    }
                }
                _ => grow(message.entry(field.clone()).or_insert(Value::Null), delta),
            }
        }
    }
    assert!(is_over && !finish.is_null(), "{stream}");
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    // An SDK cannot distinguish an empty text from a missing one.
    if message.contains_key("tool_calls") && message["content"] == "" {
        message.insert("content".into(), Value::Null);
    }
    message.insert("refusal".into(), Value::Null);
    whole["object"] = "chat.completion".into();
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish});
    whole["choices"] = json!([choice]);
    whole
}

/// The response of a Responses stream, which must be well formed: the deltas must add up to the
/// final content of the items.
pub(crate) fn response(stream: &str) -> Value {
    let mut items: Vec<(Value, String)> = Vec::new();
    let (mut integer_part, mut done) = (Value::Null, 0);
    for (number, (name, data)) in events(stream).into_iter().enumerate() {
        let data: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(data["type"], name.as_str());
        assert_eq!(data["sequence_number"], number, "{data}");
        assert_eq!(number == 0, name == "response.created", "{data}");
        let index = data["output_index"].as_u64().map(|index| usize::try_from(index).unwrap());
        if let (Some(id), Some(index)) = (data["item_id"].as_str(), index) {
            assert_eq!(items[index].0["id"], id);
        }
        match name.as_str() {
            "response.output_item.added" => {
                assert_eq!((index, done), (Some(items.len()), items.len()), "one at a time");
                items.push((data["item"].clone(), String::new()));
            }
            "response.output_item.done" => {
                let (item, text) = &mut items[index.unwrap()];
                assert_eq!(
                    (&item["id"], &item["type"]),
                    (&data["item"]["id"], &data["item"]["type"])
                );
                *item = data["item"].clone();
                assert_eq!(*text, said(item), "{item}");
                done += 1;
            }
            _ if name.rsplit('.').next() == Some("delta") => {
                items[index.unwrap()].1 += data["delta"].as_str().unwrap();
            }
            "response.completed" | "response.incomplete" => integer_part = data["response"].clone(),
            _ => {}
        }
    }
    let items: Vec<Value> = items.into_iter().map(|(item, _)| item).collect();
    assert_eq!(integer_part["output"], Value::from(items), "{stream}");
    integer_part
}

/// The text that an item's deltas must add up to.
fn said(item: &Value) -> String {
    let text = match item["type"].as_str().unwrap() {
        "message" if item["content"][0]["type"] == "refusal" => &item["content"][0]["refusal"],
        "message" => &item["content"][0]["text"],
        "reasoning" => &item["summary"][0]["text"],
        "function_call" => &item["arguments"],
        _ => &item["input"],
    };
    text.as_str().unwrap_or_default().to_owned()
}
