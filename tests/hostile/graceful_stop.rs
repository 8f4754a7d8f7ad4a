//! A stop while answers are open: their clients are informed, and all usage is recorded.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{TestKey, TestSystem, message};
use serde_json::{Value, json};

use crate::bad_upstream::{self, ASKED};
use crate::class::AttackClass;
use crate::process::{address, send};
use crate::response_bombs::ask;

const STOP_SECONDS: u64 = 2;

pub(crate) async fn run(class: AttackClass) {
    let before = ASKED.load(Ordering::Relaxed);
    let launch = TestSystem::builder().env("BATON_STOP_SECONDS", &STOP_SECONDS.to_string());
    let mut system = launch.start().await;
    let upstream = format!("http://{}", bad_upstream::start().await);
    let group = system.group("anthropic").await;
    system.account_with("a", &upstream, json!({"groups": [group]})).await;
    // Keys with a money limit are refused for a model without a price.
    let rates = json!({"input": "5", "output": "25", "cache_read": "0.5",
        "cache_write_5m": "6.25", "cache_write_1h": "10"});
    for model in ["ticking", "silent"] {
        let price = json!({"model": model, "standard": rates});
        system.admin().post("/prices", &price).await.status(201);
    }
    let free = system.key("free").group(&group).create().await;
    let limited = system.key("limited").group(&group).limit_usd_daily("100").create().await;
    let other = system.group("openai").await;
    system
        .account_with("o", &upstream, json!({"groups": [other], "provider": "openai_compatible"}))
        .await;
    let openai = system.key("openai").group(&other).create().await;

    let chat = |model: &str| json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let responses = json!({"model": "ticking", "stream": true, "input": "hi"});
    let bedrock = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    let framed = "/model/ticking/invoke-with-response-stream";
    let ticking = message("ticking", "hi", true);
    let mut cases: Vec<(&str, &TestKey, &'static str, Value, &str)> = vec![
        ("a stream of an unlimited key", &free, "/v1/messages", ticking.clone(), "event: error"),
        ("a stream of a limited key", &limited, "/v1/messages", ticking.clone(), "event: error"),
        ("a stream as chat", &free, "/v1/chat/completions", chat("ticking"), "\"error\""),
        ("a stream as a response", &free, "/v1/responses", responses, "response.failed"),
        ("a stream in frames", &free, framed, bedrock, "overloaded_error"),
        (
            "a chat stream as it is",
            &openai,
            "/v1/chat/completions",
            chat("chat-ticking"),
            "\"error\"",
        ),
        (
            "a chat stream as messages",
            &openai,
            "/v1/messages",
            message("chat-ticking", "hi", true),
            "event: error",
        ),
        (
            "a stream that pours",
            &free,
            "/v1/messages",
            message("pouring", "hi", true),
            "event: error",
        ),
        ("no answer yet, streamed", &free, "/v1/messages", message("silent", "hi", true), "503"),
        ("no answer yet, whole", &limited, "/v1/messages", message("silent", "hi", false), "503"),
    ];
    cases.extend(
        (0..60).map(|_| {
            ("one of many streams", &free, "/v1/messages", ticking.clone(), "event: error")
        }),
    );
    let mut asking = Vec::new();
    for (name, key, path, body, end) in cases {
        let key = key.clone();
        let asked = async move { ask(&key, path, body).await };
        asking.push((name, end, tokio::spawn(asked)));
    }
    // Clients that do not read, and one whose body does not end.
    let relay = address(&system.relay_url());
    let body = message("pouring", "hi", true).to_string();
    let mut held = Vec::new();
    for _ in 0..10 {
        let request = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
            free.secret,
            body.len()
        );
        held.extend(send(relay, request.as_bytes()).await.ok());
    }
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: 99\r\n\r\n{{",
        free.secret
    );
    held.extend(send(relay, request.as_bytes()).await.ok());
    // All requests except the one without an end reach the upstream soon.
    eventually("the upstream has all requests", Duration::from_mins(1), async || {
        let asked = ASKED.load(Ordering::Relaxed) - before;
        if asked == 80 { Ok(()) } else { Err(asked) }
    })
    .await;

    let again = system.process().again();
    let begun = Instant::now();
    system.process().terminate();
    for (name, end, answer) in asking {
        let Ok(Some(answer)) = answer.await else {
            class.check(name, false, || "no answer".to_owned());
            continue;
        };
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let tail: String = text.chars().skip(text.chars().count().saturating_sub(3000)).collect();
        let is_told =
            tail.contains(end) || unframed(&text).contains(end) || end == answer.status.to_string();
        class.check(name, is_told && !answer.torn, || {
            format!("{} torn={} {tail}", answer.status, answer.torn)
        });
    }
    let ended = system.process().ended();
    let took = begun.elapsed();
    class.check("the exit code", ended.code == Some(0), || {
        format!("{:?} {}", ended.code, ended.stderr)
    });
    let most = Duration::from_secs(STOP_SECONDS + 10);
    class.check("the time of the stop", took < most, || format!("{took:?}"));
    class.check("its words", ended.stdout.contains("stopped; all usage is stored"), || {
        ended.stdout.clone()
    });
    drop(held);

    system.started_again(&again).await;
    let count = |key: &TestKey| key.id.clone();
    for (key, expected) in [(&free, 5 + 60 + 1 + 10), (&limited, 2), (&openai, 2)] {
        let key = key.at(&system);
        let events = system.events(&key).await;
        class.check("records are there at once", events.len() == expected, || {
            format!("{} of {expected} of {}", events.len(), count(&key))
        });
        for event in &events {
            class.check("how they ended", event["outcome"] == "stopped", || event.to_string());
            let input = event["tokens"]["input"].as_u64().unwrap_or_default();
            let is_estimate = event["estimated"] == true && input > 0;
            class.check("what they cost", is_estimate, || event.to_string());
        }
    }
    let usage = limited.at(&system).get("/v1/usage").await.json();
    class.check("nothing stays reserved", usage["open_requests"] == 0, || usage.to_string());
}

/// The message in the last frame of an AWS event stream.
fn unframed(text: &str) -> String {
    let last = text.rsplit("\"bytes\":\"").next().and_then(|rest| rest.split('"').next());
    let event = last.and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
    String::from_utf8_lossy(&event.unwrap_or_default()).into_owned()
}
