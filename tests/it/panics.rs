//! A panic ends one request: its client gets an error in its protocol, no text of the panic leaves
//! the process, and the process continues.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_domain::key::Limits;
use baton_relay::Relay;
use baton_runtime::settings::LogFormat;
use baton_runtime::telemetry;
use baton_test_harness::program::{Program, ProgramResult};
use baton_test_harness::system::{InProcessSystem, MODEL, TestSystem, message};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::canary::assert_absent;

const PANICKED: &str = "panic-canary-13m";

/// Sends a request in one of the protocols. Returns the status and the body.
async fn ask<B>(relay: &Relay, path: &str, key: &str, body: B) -> (u16, Value)
where
    B: http_body::Body<Data = Bytes, Error = std::convert::Infallible> + Send,
{
    let request = Request::post(path).header("x-api-key", key).body(body).expect("a request");
    let answer = relay.handle(request).await;
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.expect("a whole answer").to_bytes();
    assert_absent(path, &bytes, &[PANICKED, key]);
    (status, serde_json::from_slice(&bytes).expect("JSON"))
}

fn model_call() -> Full<Bytes> {
    Full::new(Bytes::from(message(MODEL, "hi", false).to_string()))
}

/// Not a test by itself. Like all ignored functions in this file, it runs as a separate process of
/// a later test, which reads its output.
#[tokio::test]
#[ignore = "another test runs it in a separate process"]
async fn panics_in_the_relay() {
    telemetry::init(LogFormat::Json, "info");
    let bedrock = "/model/anthropic.claude-opus-5-5/invoke";
    for path in ["/v1/messages", "/v1/chat/completions", bedrock] {
        let mut last = None;
        // The panic happens during the lookup of the key, then during that of its accounts.
        for calls in 0..2 {
            let inside = InProcessSystem::open().await;
            let (_, key) = inside.key(Limits::default()).await;
            let (relay, key) = (inside.relay(), key.expose());
            inside.panic_after(calls, &format!("{PANICKED} {key}"));
            let (status, body) = ask(&relay, path, key, model_call()).await;
            assert_eq!(status, 500, "{path}: {body}");
            assert!(body["error"]["message"].is_string(), "{path}: {body}");
            assert_eq!(body["type"] == "error", path != "/v1/chat/completions", "{path}: {body}");
            let (status, body) = ask(&relay, path, key, model_call()).await;
            assert_eq!(status, 503, "the next request is answered as before: {path}: {body}");
            last = Some((relay, key.to_owned()));
        }
        // The panic happens while the body is read.
        let (relay, key) = last.as_ref().expect("a relay");
        let frames = futures_util::stream::poll_fn(|_| panic!("{PANICKED}"));
        assert_eq!(ask(relay, path, key, StreamBody::new(frames)).await.0, 500, "{path}");
        assert_eq!(ask(relay, path, key, model_call()).await.0, 503, "{path}");
    }
}

#[tokio::test]
#[ignore = "another test runs it in a separate process"]
async fn panics_in_the_admin_api() {
    telemetry::init(LogFormat::Json, "info");
    let armed = Arc::new(AtomicBool::new(false));
    let trap = Arc::clone(&armed);
    let in_process = TestSystem::builder()
        .in_process()
        .store_hook(move |_, body| {
            let is_over = !trap.swap(false, Ordering::SeqCst);
            assert!(is_over, "{PANICKED} {}", String::from_utf8_lossy(body));
            None
        })
        .start()
        .await;
    let account = json!({
        "name": "main", "base_url": "http://127.0.0.1:9",
        "credential": {"type": "api_key", "value": PANICKED},
    });
    for (method, path, body) in [
        ("GET", "/groups", json!({})),
        ("POST", "/accounts", account),
        ("GET", "/usage/summary", json!({})),
    ] {
        armed.store(true, Ordering::SeqCst);
        let answer = in_process.admin().send(method, path, &body).await;
        assert_absent(path, &answer.body, &[PANICKED]);
        let id = answer.header("request-id").expect("an id").to_owned();
        assert_eq!(answer.json()["request_id"], json!(id));
        answer.refused(500, "api_error");
        let again = in_process.admin().send(method, path, &body).await;
        assert!(again.status < 300, "{path}: {}", again.text());
    }
}

#[tokio::test]
#[ignore = "another test runs it in a separate process"]
async fn panics_in_background_tasks() {
    telemetry::init(LogFormat::Json, "info");
    let inside = InProcessSystem::open().await;
    let send = async || inside.queue.send_raw(PANICKED.to_owned()).await;
    // Each call that panics releases its place.
    for _ in 0..20 {
        inside.panic_after(0, PANICKED);
        assert!(send().await.is_err());
    }
    send().await.expect("the queue still works");
    let stop = CancellationToken::new();
    stop.cancel();
    let handler = |_| async { panic!("{PANICKED}") };
    inside.local.consume_usage(stop, handler).await;
}

/// Runs one of the functions above in a process. Its output must not contain the text of the
/// panics.
fn run(name: &str) -> ProgramResult {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", &format!("panics::{name}"), "--ignored", "--nocapture"]);
    let ended = Program::run(&mut command, Duration::from_mins(2));
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("1 passed"), "{}", ended.stdout);
    assert_absent("stdout", ended.stdout.as_bytes(), &[PANICKED]);
    assert_absent("stderr", ended.stderr.as_bytes(), &[PANICKED]);
    ended
}

/// The log lines about panics.
fn panic_lines(ended: &ProgramResult) -> Vec<Value> {
    let lines = ended.stderr.lines().filter(|line| line.contains("\"panicked\""));
    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn relay_answers_500_and_continues() {
    let ended = run("panics_in_the_relay");
    let panic_lines = panic_lines(&ended);
    assert_eq!(panic_lines.len(), 9, "{panic_lines:?}");
    for line in panic_lines {
        let id = line["span"]["request_id"].as_str().unwrap_or_default();
        assert!(id.starts_with("req_"), "no request id: {line}");
    }
}

#[test]
fn admin_api_answers_500_and_continues() {
    let ended = run("panics_in_the_admin_api");
    let panic_lines = panic_lines(&ended);
    assert_eq!(panic_lines.len(), 3, "{panic_lines:?}");
    for line in panic_lines {
        let id = line["span"]["request_id"].as_str().unwrap_or_default();
        assert!(id.starts_with("req_"), "no request id: {line}");
    }
}

#[test]
fn background_tasks_survive_panics_without_leaking() {
    let ended = run("panics_in_background_tasks");
    assert!(panic_lines(&ended).len() >= 21, "{}", ended.stderr);
}

#[tokio::test]
#[ignore = "another test runs it in a separate process"]
async fn panic_in_a_span() {
    telemetry::init(LogFormat::Json, "info");
    let span = tracing::error_span!("request", request_id = "req_inside");
    let task = tokio::spawn(async { panic!("{PANICKED}") }.instrument(span));
    assert!(task.await.is_err());
}

#[test]
fn panic_log_has_place_and_request_only() {
    let ended = run("panic_in_a_span");
    let line = ended.stderr.lines().find(|line| line.contains("panicked")).expect("a line");
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["span"]["request_id"], "req_inside");
    let place = line["location"].as_str();
    assert!(place.is_some_and(|place| place.contains("panics.rs:")), "{line}");
}
