//! Answers of an upstream that do not end, or that decompress to far more than was sent: the memory
//! that they use, the error that the client gets, and their usage records.

use std::time::Duration;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem};
use serde_json::{Value, json};

use crate::bad_upstream;
use crate::class::AttackClass;
use crate::process::{RESIDENT_MB_MAX, memory_mb};

/// Memory for answers that are passed through or refused.
pub(crate) async fn untranslated(class: AttackClass) {
    let bombs = [
        ("json-endless", false, 502),
        ("text-endless", false, 502),
        ("json-31", false, 200),
        ("line-endless", true, 502),
        ("comment-endless", true, 502),
        ("blank-endless", true, 502),
        ("line-after-start", true, 200),
        ("error-endless", false, 400),
        ("gzip-bomb", false, 502),
        ("gzip-members", false, 502),
        ("gzip-empty-members", false, 0),
        ("gzip-stream", true, 200),
        ("headers-endless", false, 502),
        ("header-line", false, 502),
        ("1xx-endless", false, 0),
        ("pouring", true, 200),
    ];
    let (system, key) = start_system("anthropic").await;
    for (model, stream, status) in bombs {
        let answer = ask(&key, "/v1/messages", message(model, stream)).await;
        check(&class, &system, (model, status), answer.as_ref());
        recorded(&class, &system, &key, model).await;
    }
    // Several at the same time.
    let many = (0..8).map(|_| ask(&key, "/v1/messages", message("json-31", false)));
    for answer in futures_util::future::join_all(many).await {
        check(&class, &system, ("eight of 31 MB", 0), answer.as_ref());
    }
    // Events that do not end, after a valid one. If there is no room for them, they are passed
    // through without being read.
    let many = (0..60).map(|_| ask(&key, "/v1/messages", message("event-unfinished", true)));
    for answer in futures_util::future::join_all(many).await {
        check(&class, &system, ("sixty unfinished events", 200), answer.as_ref());
    }
    let answer = ask(&key, "/v1/messages", message("claude-opus-5-5", true)).await;
    check(&class, &system, ("claude-opus-5-5", 200), answer.as_ref());
    println!("  untranslated: {} MB at most", memory_mb(system.process_id(), "VmHWM"));
}

/// Memory for streams that are translated into another API, which repeats the content at its end.
pub(crate) async fn translated(class: AttackClass) {
    let (system, key) = start_system("anthropic").await;
    let ask_for =
        |model: &str, stream: bool| json!({"model": model, "input": "hi", "stream": stream});
    for (model, stream, status) in [
        ("text-deltas", true, 200),
        ("parts", true, 200),
        ("json-endless", false, 502),
        ("json-31", false, 502),
        ("gzip-members", false, 502),
        ("comment-endless", true, 502),
        ("claude-opus-5-5", false, 200),
    ] {
        let answer = ask(&key, "/v1/responses", ask_for(model, stream)).await;
        check(&class, &system, (model, status), answer.as_ref());
        if model == "text-deltas" {
            let said = answer.map(|answer| answer.text()).unwrap_or_default();
            class.check("text-deltas: the end", said.contains("too long to be translated"), || {
                said.chars().rev().take(300).collect::<String>()
            });
        }
        recorded(&class, &system, &key, model).await;
    }
    let chat = json!({"model": "text-deltas", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let answer = ask(&key, "/v1/chat/completions", chat).await;
    check(&class, &system, ("text-deltas as chat", 200), answer.as_ref());
    let many = (0..60).map(|_| ask(&key, "/v1/responses", ask_for("event-unfinished", true)));
    for answer in futures_util::future::join_all(many).await {
        check(&class, &system, ("sixty unfinished events", 200), answer.as_ref());
        unfinished(&class, "an unfinished event", answer.as_ref());
    }
    let (framed, key) = start_system("bedrock").await;
    let answer = ask(&key, "/v1/messages", message("frame-length", true)).await;
    check(&class, &framed, ("frame-length", 502), answer.as_ref());
    let many = (0..30).map(|_| ask(&key, "/v1/messages", message("frame-unfinished", true)));
    for answer in futures_util::future::join_all(many).await {
        check(&class, &framed, ("thirty unfinished frames", 200), answer.as_ref());
        unfinished(&class, "an unfinished frame", answer.as_ref());
    }
    println!("  framed: {} MB at most", memory_mb(framed.process_id(), "VmHWM"));
    println!("  translated: {} MB at most", memory_mb(system.process_id(), "VmHWM"));
}

/// An incomplete answer must report that, or its connection must break.
fn unfinished(class: &AttackClass, name: &str, answer: Option<&ClientResponse>) {
    let says_so = answer.is_some_and(|answer| answer.torn || answer.text().contains("error"));
    class.check(&format!("{name}: the end"), says_so, || "a clean end".to_owned());
}

async fn start_system(provider: &str) -> (TestSystem, TestKey) {
    let launch = TestSystem::builder()
        .env("BATON_LOG", "warn")
        .env("BATON_FIRST_BYTE_SECONDS", "10")
        .env("BATON_OVERALL_SECONDS", "15");
    let system = launch.start().await;
    let upstream = format!("http://{}", bad_upstream::start().await);
    system
        .account_with(
            "bad",
            &upstream,
            json!({
                "provider": provider, "model_map": {
                    "frame-length": "anthropic.frame-length",
                    "frame-unfinished": "anthropic.frame-unfinished",
                },
            }),
        )
        .await;
    let key = system.key("ci").create().await;
    (system, key)
}

fn message(model: &str, stream: bool) -> Value {
    baton_test_harness::system::message(model, "hi", stream)
}

/// The answer, for a client that stops reading at some point.
pub(crate) async fn ask(key: &TestKey, path: &str, body: Value) -> Option<ClientResponse> {
    let request = key
        .request("POST", path)
        .header("content-type", "application/json")
        .header("accept-encoding", "gzip")
        .body(body.to_string());
    tokio::time::timeout(Duration::from_mins(1), async {
        let mut response = request.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // Only the end is kept.
        let mut kept = bytes::BytesMut::new();
        let torn = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    kept.extend_from_slice(&chunk);
                    if kept.len() > 1 << 20 {
                        let _old = kept.split_to(kept.len() - (1 << 16));
                    }
                }
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        Some(ClientResponse { status, headers, body: kept.freeze(), torn })
    })
    .await
    .ok()
    .flatten()
}

fn check(
    class: &AttackClass,
    system: &TestSystem,
    (name, status): (&str, u16),
    answer: Option<&ClientResponse>,
) {
    let most = memory_mb(system.process_id(), "VmHWM");
    class.check(&format!("{name}: memory"), most < RESIDENT_MB_MAX, || {
        format!("{most} MB resident")
    });
    class.check(&format!("{name}: an end"), answer.is_some(), || "none in a minute".to_owned());
    let Some(answer) = answer else { return };
    let is_right = status == 0 || answer.status == status;
    class.check(&format!("{name}: status"), is_right, || {
        format!("{} {:.300}", answer.status, answer.text())
    });
}

/// Waits until a usage record with that model exists.
async fn recorded(class: &AttackClass, system: &TestSystem, key: &TestKey, model: &str) {
    let found = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let events = system.events(key).await;
            if events.iter().any(|event| event["model"] == model) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let is_recorded = found.await.is_ok();
    class.check(&format!("{model}: a record"), is_recorded, || "none in 20 s".to_owned());
}
