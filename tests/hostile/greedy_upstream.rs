//! An upstream that uses and reports the most that each request permits by the vendors'
//! documentation. It keeps the requests that it received.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::bad_upstream::{listen, request};

/// The duration of an answer, long enough that requests sent together are open together.
const PAUSE: Duration = Duration::from_millis(400);

/// The output tokens of an answer whose request sets no limit.
const OUTPUT_MAX: u64 = 128_000;

/// The size of the history that is stored at an upstream, in tokens.
const HISTORY: u64 = 400_000;

/// A running upstream of this kind.
#[derive(Clone)]
pub(crate) struct GreedyUpstream {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl GreedyUpstream {
    /// Starts the upstream on a free port. It serves until the runtime ends.
    pub(crate) async fn start() -> Self {
        let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let served = Arc::clone(&asked);
        let address = listen(move |stream| Self::serve(stream, Arc::clone(&served))).await;
        Self { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far: path and body.
    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The requests that contain this text.
    pub(crate) fn asked_with(&self, text: &str) -> Vec<Value> {
        let all = self.asked().into_iter().map(|(_, body)| body);
        all.filter(|body| body.to_string().contains(text)).collect()
    }

    async fn serve(
        mut stream: TcpStream,
        asked: Arc<Mutex<Vec<(String, Value)>>>,
    ) -> std::io::Result<()> {
        while let Some((path, body)) = request(&mut stream).await? {
            let length = body.len() as u64;
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            asked.lock().unwrap_or_else(PoisonError::into_inner).push((path.clone(), body.clone()));
            let answer = match path.split('?').next().unwrap_or_default() {
                "/v1/messages/count_tokens" => json!({"input_tokens": 5}),
                "/v1/messages" => messages(&body, length),
                "/v1/chat/completions" => chat(&body, length),
                "/v1/responses" => responses(&body, length),
                _ => {
                    json!({"data": [{"id": "claude-haiku-4-5", "type": "model"}], "has_more": false})
                }
            };
            if !body.is_null() && !path.contains("count_tokens") {
                tokio::time::sleep(PAUSE).await;
            }
            let text = answer.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                text.len()
            );
            stream.write_all((head + &text).as_bytes()).await?;
        }
        Ok(())
    }
}

fn bound(body: &Value, names: &[&str]) -> u64 {
    let bounds = names.iter().filter_map(|name| body[*name].as_u64()).filter(|bound| *bound > 0);
    bounds.max().unwrap_or(OUTPUT_MAX)
}

fn messages(body: &Value, length: u64) -> Value {
    // A test can make it report false usage.
    if let Some(usage) =
        body["metadata"]["user_id"].as_str().and_then(|text| text.strip_prefix("usage:"))
    {
        let usage: Value = serde_json::from_str(usage).unwrap_or_default();
        return message(body["model"].as_str().unwrap_or_default(), &usage);
    }
    let output = bound(body, &["max_tokens"]);
    let model = body["model"].as_str().unwrap_or_default();
    let mut passes = vec![(model.to_owned(), output)];
    for fallback in body["fallbacks"].as_array().into_iter().flatten() {
        let model = fallback["model"].as_str().unwrap_or_default();
        passes.push((model.to_owned(), fallback["max_tokens"].as_u64().unwrap_or(output)));
    }
    let iterations: Vec<Value> = passes
        .iter()
        .map(|(model, output)| {
            json!({"type": "message", "model": model, "input_tokens": length, "output_tokens": output})
        })
        .collect();
    let uses = |tool: &Value| tool["max_uses"].as_u64().unwrap_or(20);
    let searches: u64 = body["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|tool| tool["type"].as_str().is_some_and(|kind| kind.starts_with("web_search")))
        .map(uses)
        .sum();
    let usage = json!({
        "input_tokens": length, "output_tokens": output, "iterations": iterations,
        "server_tool_use": {"web_search_requests": searches},
        "speed": body["speed"], "inference_geo": body["inference_geo"],
    });
    message(model, &usage)
}

fn message(model: &str, usage: &Value) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": model,
        "content": [{"type": "text", "text": "ok"}], "stop_reason": "end_turn", "usage": usage,
    })
}

fn chat(body: &Value, length: u64) -> Value {
    let number = |name: &str| body[name].as_u64().unwrap_or(1).max(1);
    let choices = number("n") * number("best_of");
    let output = bound(body, &["max_tokens", "max_completion_tokens"]) * choices;
    let choice = json!({
        "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"},
    });
    json!({
        "id": "c_1", "object": "chat.completion", "model": body["model"], "choices": [choice],
        "usage": {
            "prompt_tokens": length, "completion_tokens": output, "total_tokens": length + output,
        },
    })
}

fn responses(body: &Value, length: u64) -> Value {
    let output = bound(body, &["max_output_tokens"]);
    let is_stored = ["previous_response_id", "conversation", "prompt"]
        .iter()
        .any(|name| !body[*name].is_null())
        || body["input"].to_string().contains("item_reference");
    let input = if is_stored { HISTORY } else { length };
    let text = json!({"type": "output_text", "text": "ok", "annotations": []});
    json!({
        "id": "resp_1", "object": "response", "status": "completed", "model": body["model"],
        "output": [{"id": "m", "type": "message", "role": "assistant", "content": [text]}],
        "usage": {"input_tokens": input, "output_tokens": output, "total_tokens": input + output},
    })
}
