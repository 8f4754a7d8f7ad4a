//! The server around the rules: answers in each form, state that comes back, and the ledger.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use baton_test_vendors::{Twin, Vendor};
use reqwest::Client;
use serde_json::{Value, json};

async fn post(twin: &Twin, path: &str, account: &str, body: &Value) -> (u16, Value) {
    let request = Client::new().post(format!("{}{path}", twin.url())).json(body);
    let request = request.header("x-api-key", account).header("anthropic-version", "2023-06-01");
    let request = request.header("anthropic-beta", "message-threads-2026-08-12");
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
}

const TOOL: &str = "please [[tool:ls]]";

#[tokio::test(flavor = "multi_thread")]
async fn signatures_threads_and_responses_come_back_to_their_account() {
    let twin = Twin::start(Vendor::Anthropic);
    let schema = json!({"type": "object", "properties": {"command": {"type": "string"}},
                        "required": ["command"]});
    let mut body = json!({
        "model": "claude-sonnet-5-5", "max_tokens": 100, "thinking": {"type": "adaptive"},
        "tools": [{"name": "Bash", "input_schema": schema}],
        "messages": [{"role": "user", "content": TOOL}],
    });
    let (status, answer) = post(&twin, "/v1/messages", "a", &body).await;
    assert_eq!((status, &answer["stop_reason"]), (200, &json!("tool_use")), "{answer}");
    let call = &answer["content"][1];
    assert_eq!((&call["name"], &call["input"]["command"]), (&json!("Bash"), &json!("ls")));
    let result = json!([{"type": "tool_result", "tool_use_id": call["id"], "content": "a.txt"}]);
    let history = body["messages"].as_array_mut().unwrap();
    history.push(json!({"role": "assistant", "content": answer["content"]}));
    history.push(json!({"role": "user", "content": result}));
    assert_eq!(post(&twin, "/v1/messages", "a", &body).await.0, 200);
    let (status, refusal) = post(&twin, "/v1/messages", "b", &body).await;
    assert_eq!(status, 400, "thinking of this model belongs to its account: {refusal}");
    assert_eq!(twin.refusals().len(), 1);

    let thread = |thread: Value| {
        json!({"model": "claude-opus-5-5", "max_tokens": 100, "thread": thread,
               "messages": [{"role": "user", "content": "hi"}]})
    };
    let (_, first) = post(&twin, "/v1/messages", "a", &thread(json!({"type": "create"}))).await;
    let next = thread(json!({"type": "continue", "previous_message_id": first["id"]}));
    assert_eq!(post(&twin, "/v1/messages", "a", &next).await.0, 200);
    let (status, refusal) = post(&twin, "/v1/messages", "b", &next).await;
    assert_eq!(status, 404);
    assert_eq!(refusal["error"]["details"]["error_code"], "thread_not_found");

    let twin = Twin::start(Vendor::Openai);
    let first = json!({"model": "gpt-5.5", "input": "hi"});
    let (_, first) = post(&twin, "/v1/responses", "a", &first).await;
    let next = json!({"model": "gpt-5.5", "input": "and", "previous_response_id": first["id"]});
    assert_eq!(post(&twin, "/v1/responses", "a", &next).await.0, 200);
    let (status, refusal) = post(&twin, "/v1/responses", "b", &next).await;
    assert_eq!((status, &refusal["error"]["code"]), (400, &json!("previous_response_not_found")));
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_holds_usage_and_refusals_and_failures_can_be_queued() {
    let twin = Twin::start(Vendor::DeepSeek);
    let body = json!({"model": "deepseek-v4-pro", "stream": true,
                      "stream_options": {"include_usage": true},
                      "messages": [{"role": "user", "content": "hi"}]});
    twin.fail_next(503, json!({"error": {"message": "busy"}}));
    assert_eq!(post(&twin, "/v1/chat/completions", "a", &body).await.0, 503);
    assert_eq!(post(&twin, "/v1/chat/completions", "a", &body).await.0, 200);
    let ledger = twin.ledger();
    assert_eq!(ledger[0].refusal.as_deref(), Some("busy"));
    assert!(ledger[1].usage["prompt_tokens"].as_u64() > Some(2_000));
}
