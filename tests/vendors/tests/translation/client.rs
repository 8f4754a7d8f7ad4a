//! The clients: their requests, how they read an answer, and their next turn.

use baton_domain::protocol::ClientProtocol;
use serde_json::{Value, json};

/// A request of a client.
#[derive(Debug, Clone)]
pub(crate) struct ClientRequest {
    pub(crate) client: ClientProtocol,
    /// The headers that tell the dialect: version and betas.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
    /// Whether a client of Bedrock asks for a stream, which the path says.
    pub(crate) streams_by_path: bool,
}

impl ClientRequest {
    pub(crate) fn new(client: ClientProtocol, body: Value) -> Self {
        let version = ("anthropic-version".to_owned(), "2023-06-01".to_owned());
        let headers = match client {
            ClientProtocol::AnthropicMessages => vec![version],
            ClientProtocol::OpenaiChat
            | ClientProtocol::OpenaiResponses
            | ClientProtocol::BedrockInvokeModel => Vec::new(),
        };
        Self { client, headers, body, streams_by_path: false }
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.streams_by_path || self.body["stream"] == true
    }

    /// The model. A client of Bedrock names it in the path.
    pub(crate) fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or("us.anthropic.claude-opus-4-8-v1:0")
    }

    pub(crate) fn betas(&self) -> Vec<String> {
        let betas = self.headers.iter().filter(|(name, _)| name == "anthropic-beta");
        betas.map(|(_, value)| value.clone()).collect()
    }
}

fn parameters() -> Value {
    json!({"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]})
}

/// The first turn of a conversation with one tool.
pub(crate) fn first_turn(client: ClientProtocol, is_stream: bool, prompt: &str) -> ClientRequest {
    let mut body = match client {
        ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => json!({
            "max_tokens": 4_000,
            "tools": [{"name": "Bash", "description": "Runs.", "input_schema": parameters()}],
            "messages": [{"role": "user", "content": prompt}],
        }),
        ClientProtocol::OpenaiChat => {
            let function = json!({"name": "Bash", "parameters": parameters()});
            json!({
                "model": "gpt-5.5",
                "tools": [{"type": "function", "function": function}],
                "messages": [{"role": "user", "content": prompt}],
            })
        }
        ClientProtocol::OpenaiResponses => json!({
            "model": "gpt-5.5", "store": false, "include": ["reasoning.encrypted_content"],
            "tools": [{"type": "function", "name": "Bash", "parameters": parameters(), "strict": false}],
            "input": [{"role": "user", "content": prompt}],
        }),
    };
    let mut request = match client {
        ClientProtocol::BedrockInvokeModel => {
            body["anthropic_version"] = "bedrock-2023-05-31".into();
            ClientRequest::new(client, body)
        }
        ClientProtocol::AnthropicMessages => {
            body["model"] = "claude-opus-5-5".into();
            body["thinking"] = json!({"type": "adaptive"});
            ClientRequest::new(client, body)
        }
        ClientProtocol::OpenaiChat | ClientProtocol::OpenaiResponses => {
            ClientRequest::new(client, body)
        }
    };
    match client {
        ClientProtocol::BedrockInvokeModel => request.streams_by_path = is_stream,
        ClientProtocol::AnthropicMessages
        | ClientProtocol::OpenaiChat
        | ClientProtocol::OpenaiResponses => request.body["stream"] = is_stream.into(),
    }
    request
}

/// The answer as one object, however it was sent.
fn whole(request: &ClientRequest, answer: &[u8]) -> Result<Value, String> {
    if !request.is_stream() {
        return serde_json::from_slice(answer).map_err(|error| format!("no JSON: {error}"));
    }
    let text = String::from_utf8_lossy(answer);
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = events.filter_map(|data| serde_json::from_str(data).ok()).collect();
    let joined = match request.client {
        ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => {
            join_blocks(&events)
        }
        ClientProtocol::OpenaiChat => join_chunks(&events),
        ClientProtocol::OpenaiResponses => {
            let done = events.iter().find(|event| event["type"] == "response.completed");
            done.map(|event| event["response"].clone())
        }
    };
    joined.ok_or_else(|| "the stream has no end".to_owned())
}

fn append(to: &mut Value, text: &Value) {
    let joined =
        format!("{}{}", to.as_str().unwrap_or_default(), text.as_str().unwrap_or_default());
    *to = joined.into();
}

fn join_blocks(events: &[Value]) -> Option<Value> {
    let mut content: Vec<Value> = Vec::new();
    let mut arguments = String::new();
    for event in events {
        let delta = &event["delta"];
        match event["type"].as_str()? {
            "content_block_start" => {
                content.push(event["content_block"].clone());
                arguments.clear();
            }
            "content_block_delta" => {
                let block = content.last_mut()?;
                match delta["type"].as_str()? {
                    "text_delta" => append(&mut block["text"], &delta["text"]),
                    "thinking_delta" => append(&mut block["thinking"], &delta["thinking"]),
                    "signature_delta" => append(&mut block["signature"], &delta["signature"]),
                    _ => arguments.push_str(delta["partial_json"].as_str()?),
                }
            }
            "content_block_stop" if content.last()?["type"] == "tool_use" => {
                content.last_mut()?["input"] =
                    serde_json::from_str(&arguments).unwrap_or(json!({}));
            }
            "message_stop" => return Some(json!({"content": content})),
            _ => {}
        }
    }
    None
}

/// Joins chunks as OpenAI's SDK does: unknown fields of a delta stay.
fn join_chunks(events: &[Value]) -> Option<Value> {
    let mut message = json!({"role": "assistant", "content": null});
    let mut calls: Vec<Value> = Vec::new();
    let mut is_over = false;
    for event in events {
        let choice = &event["choices"][0];
        is_over |= choice["finish_reason"].is_string();
        for (name, value) in choice["delta"].as_object().into_iter().flatten() {
            match name.as_str() {
                "role" => {}
                "tool_calls" => {
                    value.as_array()?.iter().for_each(|call| join_call(&mut calls, call));
                }
                _ if value.is_string() => append(&mut message[name], value),
                _ => message[name] = value.clone(),
            }
        }
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
        if message["content"] == "" {
            message["content"] = Value::Null;
        }
    }
    is_over.then(|| json!({"choices": [{"message": message}]}))
}

/// Adds a piece of a call. A piece with an id begins a call.
fn join_call(calls: &mut Vec<Value>, piece: &Value) {
    if piece["id"].is_string() {
        let mut call = piece.clone();
        if let Some(map) = call.as_object_mut() {
            map.remove("index");
        }
        return calls.push(call);
    }
    if let Some(last) = calls.last_mut() {
        append(&mut last["function"]["arguments"], &piece["function"]["arguments"]);
    }
}

/// Checks that the answer is one, and that it has the calls that the prompt asked for.
pub(crate) fn check_answer(request: &ClientRequest, answer: &[u8]) -> Result<(), String> {
    let object = whole(request, answer)?;
    let calls = match request.client {
        ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => {
            calls_of(object["content"].as_array(), |block| block["type"] == "tool_use")
        }
        ClientProtocol::OpenaiChat => {
            calls_of(object["choices"][0]["message"]["tool_calls"].as_array(), |_| true)
        }
        ClientProtocol::OpenaiResponses => {
            calls_of(object["output"].as_array(), |item| item["type"] == "function_call")
        }
    };
    let messages = request.body["messages"].as_array().or(request.body["input"].as_array());
    let prompt = messages.and_then(|messages| messages.last()?["content"].as_str());
    let prompt = prompt.unwrap_or_default();
    let expected = match prompt {
        prompt if prompt.contains("[[tools") => 2,
        prompt if prompt.contains("[[tool") => 1,
        _ => return Ok(()),
    };
    if calls == expected {
        return Ok(());
    }
    Err(format!("the answer has {calls} calls of {expected}"))
}

fn calls_of(list: Option<&Vec<Value>>, is_call: impl Fn(&Value) -> bool) -> usize {
    list.into_iter().flatten().filter(|part| is_call(part)).count()
}

/// The client's next turn: the answer goes into the history as the client got it, with the results of
/// its calls or another question.
pub(crate) fn next_turn(request: &ClientRequest, answer: &[u8]) -> ClientRequest {
    let object = whole(request, answer).expect("the answer was checked");
    let mut next = request.clone();
    let more = match request.client {
        ClientProtocol::AnthropicMessages | ClientProtocol::BedrockInvokeModel => {
            turn_of_messages(&object)
        }
        ClientProtocol::OpenaiChat => turn_of_chat(&object),
        ClientProtocol::OpenaiResponses => turn_of_responses(&object),
    };
    let name = if request.client == ClientProtocol::OpenaiResponses { "input" } else { "messages" };
    next.body[name].as_array_mut().unwrap().extend(more);
    next
}

fn turn_of_messages(object: &Value) -> Vec<Value> {
    let blocks = object["content"].as_array().unwrap();
    let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
    let results: Vec<Value> = calls
        .map(|call| json!({"type": "tool_result", "tool_use_id": call["id"], "content": "a.txt"}))
        .collect();
    let next = if results.is_empty() { json!("and [[tool:pwd]]") } else { results.into() };
    vec![json!({"role": "assistant", "content": blocks}), json!({"role": "user", "content": next})]
}

fn turn_of_chat(object: &Value) -> Vec<Value> {
    let message = &object["choices"][0]["message"];
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let results =
        calls.map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": "a.txt"}));
    let results: Vec<Value> = results.collect();
    let mut turn = vec![message.clone()];
    if results.is_empty() {
        turn.push(json!({"role": "user", "content": "and [[tool:pwd]]"}));
    }
    turn.extend(results);
    turn
}

fn turn_of_responses(object: &Value) -> Vec<Value> {
    let items = object["output"].as_array().unwrap();
    let calls = items.iter().filter(|item| item["type"] == "function_call");
    let results: Vec<Value> = calls
        .map(|call| {
            json!({"type": "function_call_output", "call_id": call["call_id"], "output": "a.txt"})
        })
        .collect();
    let mut turn = items.clone();
    if results.is_empty() {
        turn.push(json!({"role": "user", "content": "and [[tool:pwd]]"}));
    }
    turn.extend(results);
    turn
}
