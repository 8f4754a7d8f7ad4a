//! A panic ends one request: its client gets an error in its own form, nothing that the panic quotes
//! comes out, and the process goes on.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_domain::key::Limits;
use baton_relay::Relay;
use baton_runtime::settings::LogFormat;
use baton_runtime::telemetry;
use baton_tests::house::{MODEL, message};
use baton_tests::in_process_admin::InProcessAdmin;
use baton_tests::in_process_relay::InProcessRelay;
use baton_tests::program::{Program, ProgramResult};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::canary::clean;

const PANICKED: &str = "panic-canary-13m";

/// Asks one of the dialects; the status and what was said.
async fn ask<B>(relay: &Relay, path: &str, key: &str, body: B) -> (u16, Value)
where
    B: http_body::Body<Data = Bytes, Error = std::convert::Infallible> + Send,
{
    let request = Request::post(path).header("x-api-key", key).body(body).expect("a request");
    let answer = relay.handle(request).await;
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.expect("a whole answer").to_bytes();
    clean(path, &bytes, &[PANICKED, key]);
    (status, serde_json::from_slice(&bytes).expect("JSON"))
}

fn question() -> Full<Bytes> {
    Full::new(Bytes::from(message(MODEL, "hi", false).to_string()))
}

/// Not a test of its own, like all that are ignored here: a later one runs it in a process of its
/// own, for the sake of its output.
#[tokio::test]
#[ignore = "run by another one"]
async fn in_the_relay() {
    telemetry::init(LogFormat::Json, "info");
    let bedrock = "/model/anthropic.claude-opus-5-5/invoke";
    for path in ["/v1/messages", "/v1/chat/completions", bedrock] {
        let mut last = None;
        // While the key is looked up, then while its accounts are.
        for calls in 0..2 {
            let inside = InProcessRelay::new(&[]).await;
            let (_, key) = inside.key(Limits::default()).await;
            let (relay, key) = (inside.relay(), key.expose());
            inside.panic_after(calls, &format!("{PANICKED} {key}"));
            let (status, said) = ask(&relay, path, key, question()).await;
            assert_eq!(status, 500, "{path}: {said}");
            assert!(said["error"]["message"].is_string(), "{path}: {said}");
            assert_eq!(said["type"] == "error", path != "/v1/chat/completions", "{path}: {said}");
            let (status, said) = ask(&relay, path, key, question()).await;
            assert_eq!(status, 503, "all is as before, a key without accounts: {path}: {said}");
            last = Some((relay, key.to_owned()));
        }
        // While the body is read.
        let (relay, key) = last.as_ref().expect("a relay");
        let frames = futures_util::stream::poll_fn(|_| panic!("{PANICKED}"));
        assert_eq!(ask(relay, path, key, StreamBody::new(frames)).await.0, 500, "{path}");
        assert_eq!(ask(relay, path, key, question()).await.0, 503, "{path}");
    }
}

#[tokio::test]
#[ignore = "run by another one"]
async fn in_the_office() {
    telemetry::init(LogFormat::Json, "info");
    let armed = Arc::new(AtomicBool::new(false));
    let trap = Arc::clone(&armed);
    let office = InProcessAdmin::behind(move |_, body| {
        let is_over = !trap.swap(false, Ordering::SeqCst);
        assert!(is_over, "{PANICKED} {}", String::from_utf8_lossy(body));
        None
    })
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
        let answer = office.admin.send(method, path, &body).await;
        clean(path, &answer.body, &[PANICKED]);
        let id = answer.header("request-id").expect("an id").to_owned();
        assert_eq!(answer.json()["request_id"], json!(id));
        answer.refused(500, "api_error");
        let again = office.admin.send(method, path, &body).await;
        assert!(again.status < 300, "{path}: {}", again.text());
    }
}

#[tokio::test]
#[ignore = "run by another one"]
async fn beside_the_requests() {
    telemetry::init(LogFormat::Json, "info");
    let inside = InProcessRelay::new(&[]).await;
    let send = async || inside.queue.send_raw(PANICKED.to_owned()).await;
    // Each call that dies gives its place back, however many do.
    for _ in 0..20 {
        inside.panic_after(0, PANICKED);
        assert!(send().await.is_err());
    }
    send().await.expect("the queue is used as before");
    let stop = CancellationToken::new();
    stop.cancel();
    let handler = |_| async { panic!("{PANICKED}") };
    inside.local.consume_usage(stop, handler).await.expect("a consumer");
}

/// Runs one of these; what it wrote holds nothing of the panics, and names the file of them.
fn run(name: &str) -> ProgramResult {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", &format!("panics::{name}"), "--ignored", "--nocapture"]);
    let ended = Program::run(&mut command, Duration::from_mins(2));
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("1 passed"), "{}", ended.stdout);
    clean("stdout", ended.stdout.as_bytes(), &[PANICKED]);
    clean("stderr", ended.stderr.as_bytes(), &[PANICKED]);
    ended
}

/// The lines that tell of panics.
fn told(ended: &ProgramResult) -> Vec<Value> {
    let lines = ended.stderr.lines().filter(|line| line.contains("\"panicked\""));
    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn the_relay_answers_and_goes_on() {
    let ended = run("in_the_relay");
    let told = told(&ended);
    assert_eq!(told.len(), 9, "{told:?}");
    for line in told {
        let id = line["span"]["request_id"].as_str().unwrap_or_default();
        assert!(id.starts_with("req_"), "which request it was: {line}");
    }
}

#[test]
fn the_office_answers_and_goes_on() {
    let ended = run("in_the_office");
    let told = told(&ended);
    assert_eq!(told.len(), 3, "{told:?}");
    for line in told {
        let id = line["span"]["request_id"].as_str().unwrap_or_default();
        assert!(id.starts_with("req_"), "which request it was: {line}");
    }
}

#[test]
fn background_tasks_survive_panics_without_leaking() {
    let ended = run("beside_the_requests");
    assert!(told(&ended).len() >= 21, "{}", ended.stderr);
}

#[tokio::test]
#[ignore = "run by another one"]
async fn something_panics() {
    telemetry::init(LogFormat::Json, "info");
    let span = tracing::error_span!("request", request_id = "req_inside");
    let task = tokio::spawn(async { panic!("{PANICKED}") }.instrument(span));
    assert!(task.await.is_err());
}

#[test]
fn a_panic_says_where_and_in_which_request_and_no_more() {
    let ended = run("something_panics");
    let line = ended.stderr.lines().find(|line| line.contains("panicked")).expect("a line");
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["span"]["request_id"], "req_inside");
    assert!(line["place"].as_str().is_some_and(|place| place.contains("panics.rs:")), "{line}");
}
