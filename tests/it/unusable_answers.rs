//! Answers of upstreams that cannot be passed on, and errors that break off: what the client gets,
//! what is recorded, and that no second call is billed.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{MODEL, SOON, TestKey, TestSystem, message};
use baton_test_harness::upstream::{FakeUpstream, send_pieces};
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
        Self::start_sending(vec![answer], sending)
    }

    /// An upstream that waits a moment between these pieces of its answer.
    fn start_in_pieces(pieces: Vec<Vec<u8>>) -> Self {
        Self::start_sending(pieces, Sending::AtOnce)
    }

    fn start_sending(pieces: Vec<Vec<u8>>, sending: Sending) -> Self {
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
                send_pieces(&mut stream, &pieces);
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
    pair_with(system, raw, json!({})).await
}

/// The same with these fields of the first account.
async fn pair_with(
    system: &TestSystem,
    raw: &RawUpstream,
    mut fields: Value,
) -> (TestKey, FakeUpstream, String) {
    let second = FakeUpstream::start();
    let group = system.group("pair").await;
    (fields["groups"], fields["priority"]) = (json!([group]), json!(1));
    let first = system.account_with("first", &raw.url, fields).await;
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

/// `transfer-encoding` is the right one of the two (RFC 9112, section 6.3), and no client gets a wrong
/// length.
#[tokio::test]
async fn length_beside_chunks_does_not_cut_an_answer() {
    let whole = tool_call("{}");
    let error = r#"{"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#;
    for (status, body, length) in
        [(200, whole.as_str(), 0), (200, &whole, 3), (200, &whole, 9_999), (400, error, 3)]
    {
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n"
        );
        let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let raw = RawUpstream::start([head, chunk].concat().into_bytes());
        let system = TestSystem::empty().await;
        let (key, ..) = pair(&system, &raw).await;
        let response =
            ClientResponse::to(key.message(message(MODEL, "hi", false).to_string())).await;
        assert_eq!(response.status, status, "{length}: {}", response.text());
        assert_eq!(response.text(), body, "{length}");
        assert!(!response.torn, "{length}");
        assert_eq!(response.header("content-length"), Some(&*body.len().to_string()));
    }
}

/// An upstream that answers with success and this body.
fn success(content_type: &str, body: &str) -> RawUpstream {
    let head = format!("HTTP/1.1 200 X\r\ncontent-type: {content_type}\r\n\r\n");
    RawUpstream::start([head.as_bytes(), body.as_bytes()].concat())
}

const SSE: &str = "text/event-stream";
const JSON: &str = "application/json";

/// The fields of an account of each protocol, with the path of a client that speaks it.
fn protocols() -> [(&'static str, Value); 3] {
    [
        ("/v1/messages", json!({})),
        ("/v1/chat/completions", json!({"provider": "openai_compatible"})),
        ("/v1/responses", json!({"provider": "openai_compatible", "speaks_responses": true})),
    ]
}

async fn ask(key: &TestKey, path: &str, is_stream: bool) -> ClientResponse {
    let mut body = json!({"model": MODEL, "stream": is_stream});
    match path {
        "/v1/responses" => body["input"] = json!("hi"),
        _ => body["messages"] = json!([{"role": "user", "content": "hi"}]),
    }
    if path == "/v1/messages" {
        body["max_tokens"] = json!(64);
    }
    ClientResponse::to(key.request("POST", path).body(body.to_string())).await
}

/// A vendor bills the usage that it reports with an error, so the request is not bought again.
#[tokio::test]
async fn error_with_usage_is_counted_once() {
    let error = r#""error":{"type":"api_error","code":"server_error","message":"died"}"#;
    let usage = r#""usage":{"input_tokens":2000,"output_tokens":1000}"#;
    let openai = r#""usage":{"prompt_tokens":2000,"completion_tokens":1000}"#;
    let failed =
        format!(r#"{{"object":"response","status":"failed",{error},"output":[],{usage}}}"#);
    let [messages, chat, responses] = protocols();
    for ((path, fields), content_type, body) in [
        (&messages, JSON, format!(r#"{{"type":"error",{error},{usage}}}"#)),
        (&messages, SSE, format!("event: error\ndata: {{\"type\":\"error\",{error},{usage}}}\n\n")),
        (&chat, JSON, format!("{{{error},{openai}}}")),
        (&chat, SSE, format!("data: {{{error},{openai}}}\n\n")),
        (&responses, JSON, failed.clone()),
        (
            &responses,
            SSE,
            format!(
                "event: response.failed\ndata: {{\"type\":\"response.failed\",\"response\":{failed}}}\n\n"
            ),
        ),
    ] {
        let system = TestSystem::empty().await;
        let raw = success(content_type, &body);
        let (key, second, _) = pair_with(&system, &raw, fields.clone()).await;
        let response = ask(&key, path, content_type == SSE).await;
        assert!(response.text().contains("died"), "{body}: {}", response.text());
        assert_eq!(response.status, if content_type == SSE { 200 } else { 500 }, "{body}");
        assert_eq!(raw.calls.load(Ordering::SeqCst), 1, "{body}");
        assert_eq!(second.exchanges().len(), 0, "{body}: a second call is billed");
        let events = system.events_of(&key, 1).await;
        assert_eq!(events[0]["outcome"], "upstream_error", "{body}: {events:?}");
        let tokens = &events[0]["tokens"];
        assert_eq!((&tokens["input"], &tokens["output"]), (&json!(2000), &json!(1000)), "{body}");
        assert_eq!(events[0]["estimated"], false, "{body}: {events:?}");
    }
}

/// The same if the error has the status of one.
#[tokio::test]
async fn error_status_with_usage_is_counted_once() {
    let error = r#""error":{"type":"api_error","code":"server_error","message":"died"}"#;
    let bodies = [
        format!(
            r#"{{"type":"error",{error},"usage":{{"input_tokens":2000,"output_tokens":1000}}}}"#
        ),
        format!(r#"{{{error},"usage":{{"prompt_tokens":2000,"completion_tokens":1000}}}}"#),
    ];
    let [messages, chat, _] = protocols();
    for ((path, fields), body) in [&messages, &chat].into_iter().zip(bodies) {
        for status in [429, 500, 502] {
            let system = TestSystem::empty().await;
            let raw = RawUpstream::start(answer(status, body.len(), &body));
            let (key, second, _) = pair_with(&system, &raw, fields.clone()).await;
            let response = ask(&key, path, false).await;
            assert_eq!(response.status, status, "{body}: {}", response.text());
            assert_eq!((raw.calls(), second.exchanges().len()), (1, 0), "{body}");
            let event = &system.events_of(&key, 1).await[0];
            let tokens = (&event["tokens"]["input"], &event["tokens"]["output"]);
            assert_eq!(tokens, (&json!(2000), &json!(1000)), "{event}");
        }
    }
}

/// A stream with two choices that breaks off before the second one has ended is not complete.
#[tokio::test]
async fn stream_that_lacks_a_choice_is_not_complete() {
    let chunk = |index: u8, text: &str, reason: Value| {
        let choice = json!({"index": index, "delta": {"content": text}, "finish_reason": reason});
        format!("data: {}\n\n", json!({"model": MODEL, "choices": [choice]}))
    };
    let first = chunk(0, "one", json!("stop"));
    let half = format!("{first}{}", chunk(1, "half of the sec", json!(null)));
    let whole = format!("{half}{}", chunk(1, "ond", json!("stop")));
    let [_, (path, fields), _] = protocols();
    for (body, outcome) in
        [(first, "upstream_error"), (half, "upstream_error"), (whole, "complete")]
    {
        let system = TestSystem::empty().await;
        let raw = success(SSE, &body);
        let (key, ..) = pair_with(&system, &raw, fields.clone()).await;
        let request = json!({
            "model": MODEL, "stream": true, "n": 2,
            "messages": [{"role": "user", "content": "hi"}]
        });
        let request = key.request("POST", path).body(request.to_string());
        let response = ClientResponse::to(request).await;
        let has_error = response.text().contains("ended before the message was complete");
        assert_eq!(has_error, outcome == "upstream_error", "{body}: {}", response.text());
        let events = system.events_of(&key, 1).await;
        assert_eq!(events[0]["outcome"], outcome, "{body}: {events:?}");
    }
}

/// Success with something else than an answer of the API is a failure of the upstream: another
/// account answers, or the client gets an error that says what came.
#[tokio::test]
async fn other_forms_than_an_answer_are_failures() {
    const HTML: &str = "text/html";
    let page = "<html><body>Sign in</body></html>";
    let status = r#"{"status":"ok"}"#;
    let rows = [
        (HTML, true, page, "`text/html` instead of events"),
        (HTML, false, page, "`text/html` instead of JSON"),
        ("text/plain", false, page, "it is a page"),
        (SSE, true, page, "Sign in"),
        (SSE, true, "gateway is warming up", "gateway is warming up"),
        (SSE, true, "data: hello\n\n", "instead of events of its API came: \"hello\""),
        (SSE, true, "data: {}\n\ndata: [DONE]\n\n", "instead of events of its API"),
        (SSE, true, "data: [DONE]\n\n", "instead of events of its API"),
        (SSE, true, status, "instead of events of its API"),
        (JSON, true, status, "none of the fields of an answer"),
        (JSON, false, status, "none of the fields of an answer"),
        ("text/plain", false, status, "none of the fields of an answer"),
    ];
    for ((content_type, is_stream, body, words), (path, fields)) in
        rows.into_iter().zip(protocols().into_iter().cycle())
    {
        let system = TestSystem::empty().await;
        let raw = success(content_type, body);
        let lone = success(content_type, body);
        let (key, second, _) = pair_with(&system, &raw, fields.clone()).await;
        let response = ask(&key, path, is_stream).await;
        assert_eq!(response.status, 200, "{path} {body}: {}", response.text());
        assert_eq!(second.exchanges().len(), 1, "{path} {body}");
        let group = system.group("lone").await;
        let mut fields = fields;
        fields["groups"] = json!([group]);
        system.account_with("lone", &lone.url, fields).await;
        let key = system.key("lone").group(&group).create().await;
        let response = ask(&key, path, is_stream).await;
        assert_eq!(response.status, 502, "{path} {body}: {}", response.text());
        let message = response.json()["error"]["message"].to_string().replace("\\\"", "\"");
        assert!(message.contains(words), "{path} {content_type} {body}: {message}");
        let events = system.events_of(&key, 1).await;
        assert_eq!(events[0]["outcome"], "upstream_error", "{body}: {events:?}");
        assert_eq!(events[0]["cost_usd"], "0.000000000000", "{body}: {events:?}");
    }
}

/// The name of the event arrives alone, and the error after it. Another account answers.
#[tokio::test]
async fn failed_response_in_pieces_fails_over() {
    let system = TestSystem::empty().await;
    let failed = r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"m"}}}"#;
    let head = "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n";
    let pieces = [head, "event: respon", "se.failed\n", "data: ", failed, "\n\n"];
    let pieces = pieces.map(|piece| piece.as_bytes().to_vec()).to_vec();
    let raw = RawUpstream::start_in_pieces(pieces);
    let [.., (path, fields)] = protocols();
    let (key, second, _) = pair_with(&system, &raw, fields).await;
    let response = ask(&key, path, true).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(response.text().contains("response.completed"), "{}", response.text());
    assert_eq!(second.exchanges().len(), 1);
}

/// A response that fails before its model began. Another account answers, and this one rests.
#[tokio::test]
async fn response_that_only_began_fails_over() {
    let system = TestSystem::empty().await;
    let event = |name: &str, status: &str, error: Value| {
        let response = json!({"id": "resp_1", "object": "response", "status": status, "output": [], "error": error});
        format!("event: {name}\ndata: {}\n\n", json!({"type": name, "response": response}))
    };
    let error =
        json!({"code": "insufficient_quota", "message": "You exceeded your current quota."});
    let stream = [
        event("response.created", "in_progress", Value::Null),
        event("response.in_progress", "in_progress", Value::Null),
        event("response.failed", "failed", error),
    ];
    let raw = success(SSE, &stream.concat());
    let [.., (path, fields)] = protocols();
    let (key, second, first) = pair_with(&system, &raw, fields).await;
    let response = ask(&key, path, true).await;
    assert!(response.text().contains("response.completed"), "{}", response.text());
    assert_eq!((raw.calls(), second.exchanges().len()), (1, 1));
    let account = system.admin().get(&format!("/accounts/{first}")).await.ok().json();
    assert_eq!(account["status_reason"], "spend cap reached", "{account}");
}

/// An event that cannot be translated makes the answer unusable. The usage that follows counts.
#[tokio::test]
async fn stream_that_cannot_be_translated_is_counted_once() {
    let chunks = [
        r#"data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}"#,
        r#"data: {"choices":[],"usage":{"prompt_tokens":2000,"completion_tokens":1000}}"#,
        "data: [DONE]",
    ];
    let system = TestSystem::empty().await;
    let raw = success(SSE, &format!("data: {{\"a\":01}}\n\n{}\n\n", chunks.join("\n\n")));
    let [_, (_, fields), _] = protocols();
    let (key, second, _) = pair_with(&system, &raw, fields).await;
    let response = ask(&key, "/v1/messages", true).await;
    assert_eq!(response.status, 502, "{}", response.text());
    assert!(response.text().contains("does not follow its API"), "{}", response.text());
    assert_eq!(raw.calls.load(Ordering::SeqCst), 1);
    assert_eq!(second.exchanges().len(), 0, "a second call is billed");
    let events = system.events_of(&key, 1).await;
    assert_eq!(events[0]["outcome"], "upstream_error", "{events:?}");
    assert_eq!(events[0]["tokens"]["output"], 1000, "{events:?}");
}

/// The relay reads a whole answer to its end although its client has left, and counts its usage.
#[tokio::test]
async fn whole_answer_without_its_client_is_counted() {
    let whole = tool_call("{}");
    let head = answer(200, whole.len(), "");
    let parts = whole.as_bytes().chunks(whole.len().div_ceil(20)).map(<[u8]>::to_vec);
    let raw = RawUpstream::start_in_pieces(std::iter::once(head).chain(parts).collect());
    let system = TestSystem::empty().await;
    let key = system.private_key(&raw.url).await;
    let asking = tokio::spawn({
        let key = key.clone();
        async move { key.ask_whole("hi").await }
    });
    eventually("the upstream is called", SOON, async || {
        let calls = raw.calls.load(Ordering::SeqCst);
        if calls == 1 { Ok(()) } else { Err(calls) }
    })
    .await;
    asking.abort();
    assert!(asking.await.is_err(), "the client got an answer");
    let events = system.events_of(&key, 1).await;
    let tokens = &events[0]["tokens"];
    assert_eq!((&tokens["input"], &tokens["output"]), (&json!(2000), &json!(1000)), "{events:?}");
    assert_eq!(events[0]["estimated"], false, "{events:?}");
    assert_eq!(raw.calls.load(Ordering::SeqCst), 1);
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
