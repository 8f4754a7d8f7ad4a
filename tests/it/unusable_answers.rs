//! Answers of upstreams that cannot be passed on, and errors that break off: what the client gets,
//! what is recorded, and that no second call is billed.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{MODEL, SOON, TestKey, TestSystem};
use baton_test_harness::upstream::FakeUpstream;
use serde_json::{Value, json};

/// An upstream that sends these bytes for each request and closes the connection.
pub(crate) struct RawUpstream {
    pub(crate) url: String,
    calls: Arc<AtomicUsize>,
}

/// How an upstream sends its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// At once. Then it closes the connection.
    AtOnce,
    /// At once. Then it sends nothing more and keeps the connection open.
    ThenHang,
}

impl RawUpstream {
    pub(crate) fn start(answer: Vec<u8>) -> Self {
        Self::start_with(answer, Sending::AtOnce)
    }

    /// The number of calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn start_with(answer: Vec<u8>, sending: Sending) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
                while !request.windows(4).any(|four| four == b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                        _ => break,
                    }
                }
                if request.starts_with(b"POST") {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
                let _client_left = stream.write_all(&answer);
                if sending != Sending::ThenHang {
                    let _client_left = stream.shutdown(std::net::Shutdown::Write);
                }
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
            }
        });
        Self { url, calls }
    }
}

fn answer(status: u16, declared_length: usize, body: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n\
         content-length: {declared_length}\r\n\r\n"
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// A whole answer of the Messages API whose tool call has `input`.
fn tool_call(input: &str) -> String {
    format!(
        r#"{{"id":"msg_1","type":"message","role":"assistant","model":"{MODEL}","content":[{{"type":"tool_use","id":"toolu_1","name":"f","input":{input}}}],"stop_reason":"tool_use","usage":{{"input_tokens":2000,"output_tokens":1000}}}}"#
    )
}

/// A key whose first account is at `raw` and whose second one answers well.
async fn pair(system: &TestSystem, raw: &RawUpstream) -> (TestKey, FakeUpstream, String) {
    let second = FakeUpstream::start();
    let group = system.group("pair").await;
    let first = json!({"groups": [group], "priority": 1});
    let first = system.account_with("first", &raw.url, first).await;
    let fields = json!({"groups": [group], "priority": 2});
    system.account_with("second", &second.url(), fields).await;
    (system.key("ci").group(&group).create().await, second, first)
}

async fn chat(key: &TestKey) -> ClientResponse {
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]});
    let request = key.request("POST", "/v1/chat/completions");
    ClientResponse::to(request.body(body.to_string())).await
}

/// The client gets 502, one call is made and recorded with its output, and the account stays in use
/// unless the connection broke.
async fn assert_counted_once(raw: Vec<u8>, reason: &str, output: u64) {
    let system = TestSystem::empty().await;
    let raw = RawUpstream::start(raw);
    let (key, second, first) = pair(&system, &raw).await;
    let response = chat(&key).await;
    assert_eq!(response.status, 502, "{reason}: {}", response.text());
    assert!(response.text().contains(reason), "{reason}: {}", response.text());
    assert_eq!(raw.calls.load(Ordering::SeqCst), 1, "{reason}");
    assert_eq!(second.exchanges().len(), 0, "{reason}: a second call is billed");
    let events = system.events_of(&key, 1).await;
    assert_eq!(events[0]["outcome"], "upstream_error", "{reason}: {events:?}");
    if output > 0 {
        assert_eq!(events[0]["tokens"]["output"], json!(output), "{reason}: {events:?}");
    }
    assert_ne!(events[0]["cost_usd"], json!("0.000000000000"), "{reason}: {events:?}");
    let account = system.admin().get(&format!("/accounts/{first}")).await.ok().json();
    assert_eq!(account["status"], "ready", "{reason}: {account}");
    assert_eq!(account["status_reason"], Value::Null, "{reason}: {account}");
}

#[tokio::test]
async fn answer_that_cannot_be_translated_is_counted_once() {
    let deep = tool_call(&format!("{}1{}", r#"{"a":"#.repeat(70), "}".repeat(70)));
    assert_counted_once(answer(200, deep.len(), &deep), "Baton could not read", 1000).await;
}

#[tokio::test]
async fn damaged_answer_is_counted_once() {
    let whole = tool_call("{}");
    let part = &whole[..whole.len() - 20];
    assert_counted_once(answer(200, part.len(), part), "incomplete or damaged", 0).await;
}

#[tokio::test]
async fn answer_that_breaks_off_is_counted_once() {
    let whole = tool_call("{}");
    assert_counted_once(answer(200, whole.len() + 9, &whole), "broke during its answer", 1000)
        .await;
}

/// An answer that stops in the middle is not sent to another account, which would bill it again.
#[tokio::test]
async fn answer_that_stops_is_counted_once() {
    let whole = tool_call("{}");
    for (timer, outcome) in
        [("BATON_IDLE_SECONDS", "upstream_error"), ("BATON_OVERALL_SECONDS", "deadline")]
    {
        let system = TestSystem::builder().env(timer, "1").start().await;
        let raw = RawUpstream::start_with(answer(200, whole.len() + 9, &whole), Sending::ThenHang);
        let (key, second, _) = pair(&system, &raw).await;
        let response = chat(&key).await;
        assert_eq!(response.status, 504, "{timer}: {}", response.text());
        assert!(response.text().contains("was not complete in time"), "{}", response.text());
        assert_eq!(raw.calls.load(Ordering::SeqCst), 1, "{timer}");
        assert_eq!(second.exchanges().len(), 0, "{timer}: a second call is billed");
        let events = system.events_of(&key, 1).await;
        assert_eq!(events[0]["outcome"], outcome, "{timer}: {events:?}");
        assert_eq!(events[0]["tokens"]["output"], 1000, "{timer}: {events:?}");
    }
}

/// A stop settles what was read of a whole answer, as it does for streams.
#[tokio::test]
async fn stop_counts_what_came_of_a_whole_answer() {
    let mut system = TestSystem::builder().env("BATON_STOP_SECONDS", "0.3").start().await;
    let whole = tool_call("{}");
    let raw = RawUpstream::start_with(answer(200, whole.len() + 9, &whole), Sending::ThenHang);
    let key = system.private_key(&raw.url).await;
    let body =
        json!({"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}]});
    let request = ClientResponse::to(key.request("POST", "/v1/messages").body(body.to_string()));
    let request = tokio::spawn(request);
    eventually("the upstream is called", SOON, async || {
        let calls = raw.calls.load(Ordering::SeqCst);
        if calls == 1 { Ok(()) } else { Err(calls) }
    })
    .await;
    let again = system.process().again();
    system.process().terminate();
    assert_eq!(request.await.expect("an answer").status, 503);
    let ended = system.process().ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    system.started_again(&again).await;
    let events = system.events_of(&key, 1).await;
    assert_eq!(events[0]["outcome"], "stopped", "{events:?}");
    assert_eq!(events[0]["tokens"]["output"], 1000, "{events:?}");
}

/// The status and the headers of an error decide, even if its body never ends.
#[tokio::test]
async fn error_whose_body_hangs_reaches_the_client() {
    let error = r#"{"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#;
    let system = TestSystem::empty().await;
    let raw = RawUpstream::start_with(answer(400, error.len() + 9, error), Sending::ThenHang);
    let (key, second, first) = pair(&system, &raw).await;
    let response = key.ask_whole("hi").await;
    assert_eq!((response.status, response.text()), (400, error.to_owned()));
    assert_eq!(second.exchanges().len(), 0, "the request is the cause");
    let account = system.admin().get(&format!("/accounts/{first}")).await.ok().json();
    assert_eq!(account["status"], "ready", "{account}");
}

/// Python writes `-Infinity` by default, which strict readers of JSON refuse.
#[tokio::test]
async fn stream_with_odd_json_passes_and_is_counted_once() {
    let events = [
        r#"data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
        r#"data: {"choices":[{"index":0,"delta":{"content":"hi"},"logprobs":-Infinity}]}"#,
        r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        r#"data: {"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":4000}}"#,
        "data: [DONE]",
    ];
    for first in ["", "data: OPENROUTER PROCESSING\n\n", "data: null\n\n"] {
        let stream = format!("{first}{}\n\n", events.join("\n\n"));
        let head = "HTTP/1.1 200 X\r\ncontent-type: Text/Event-Stream\r\n\r\n";
        let raw = RawUpstream::start([head.as_bytes(), stream.as_bytes()].concat());
        let system = TestSystem::empty().await;
        let group = system.group("pair").await;
        let fields = json!({"provider": "openai_compatible", "groups": [group]});
        system.account_with("first", &raw.url, fields).await;
        let key = system.key("ci").group(&group).create().await;
        let body = json!({
            "model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]
        });
        let request = key.request("POST", "/v1/chat/completions");
        let response = ClientResponse::to(request.body(body.to_string())).await;
        assert_eq!(response.status, 200, "{first}: {}", response.text());
        assert!(response.text().contains("-Infinity"), "{first}: {}", response.text());
        assert!(response.text().ends_with("data: [DONE]\n\n"), "{first}: {}", response.text());
        assert_eq!(raw.calls.load(Ordering::SeqCst), 1, "{first}");
        let recorded = system.events_of(&key, 1).await;
        assert_eq!(recorded[0]["outcome"], "complete", "{first}: {recorded:?}");
        assert_eq!(recorded[0]["tokens"]["output"], 4000, "{first}: {recorded:?}");
    }
}

/// The upstream's length is not that of the body that the client gets.
#[tokio::test]
async fn errors_with_false_length_reach_the_client() {
    let message = "x".repeat(2 << 20);
    for (status, declared, body) in [
        (
            404,
            500,
            r#"{"type":"error","error":{"type":"not_found_error","message":"no"}}"#.to_owned(),
        ),
        (400, 500, r#"{"type":"error","error":{"type":"invalid_request_error"#.to_owned()),
        (400, message.len() + 2, format!("\"{message}\"")),
    ] {
        let system = TestSystem::empty().await;
        let raw = RawUpstream::start(answer(status, declared, &body));
        let key = system.private_key(&raw.url).await;
        let response = key.ask_whole("hi").await;
        assert_eq!(response.status, status, "{declared}");
        let expected = &body.as_bytes()[..body.len().min(1 << 20)];
        assert!(response.body == expected, "{declared}: {} bytes", response.body.len());
    }
}
