//! Streams of which much arrives at once, for many clients that read them. Each must be complete
//! and recorded with its usage, within the memory for answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::bad_upstream::{begin, delta, end, gzip, listen, request};
use crate::class::AttackClass;
use crate::process::{HEALTH_MAX, HealthWatch, RESIDENT_MB_MAX, address, health, memory_mb};

const MESSAGES: &str = "/v1/messages";
const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const CLAUDE: &str = "claude-haiku-4-5";
const GPT: &str = "gpt-5.5";
/// The pause in which a model thinks.
const THINKING: Duration = Duration::from_millis(1_500);
/// The time until all records are stored.
const RECORDS: Duration = Duration::from_secs(30);

/// Streams of one kind.
struct Burst {
    name: &'static str,
    fields: Value,
    /// The path and the model of the clients.
    call: (&'static str, &'static str),
    /// The number of streams, and of keys that share them.
    count: (usize, usize),
    coding: &'static str,
    pieces: Vec<Vec<u8>>,
    /// What each answer contains at its end.
    last: &'static str,
    /// The usage that the upstream reports.
    usage: Option<(u64, u64)>,
}

/// An answer of the Messages API with this number of deltas of this length.
fn messages(count: usize, length: usize) -> Vec<u8> {
    (begin(CLAUDE) + &delta(&"x".repeat(length)).repeat(count) + &end()).into_bytes()
}

/// An answer of the Messages API whose usage lists this number of passes.
fn many_passes(count: usize) -> Vec<u8> {
    let passes = vec!["{}"; count].join(",");
    let usage = format!(r#"{{"output_tokens":2,"iterations":[{passes}]}}"#);
    let change = format!(
        "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{}},\"usage\":{usage}}}\n\n"
    );
    (begin(CLAUDE) + &delta("x") + &change + &end()).into_bytes()
}

/// A stream of the Responses API that repeats long instructions, as OpenAI's does: the first events,
/// and what follows after some thinking.
fn echoed(instructions: usize) -> Vec<Vec<u8>> {
    let response = |status: &str, output: Value, usage: Value| {
        json!({
            "id": "resp_1", "object": "response", "status": status, "model": GPT, "error": null,
            "output": output, "usage": usage, "instructions": "i".repeat(instructions),
        })
    };
    let event = |data: &Value| {
        format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
    };
    let open = |name: &str| {
        event(&json!({"type": name, "response": response("in_progress", json!([]), Value::Null)}))
    };
    let item = |text: &str| {
        json!({"id": "m", "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": text, "annotations": []}]})
    };
    let at = json!({"item_id": "m", "output_index": 0, "content_index": 0});
    let place = |name: &str, field: &str, value: Value| {
        let mut data = at.clone();
        (data["type"], data[field]) = (json!(name), value);
        event(&data)
    };
    let empty = json!({"id": "m", "type": "message", "role": "assistant", "content": []});
    let part = json!({"type": "output_text", "text": "", "annotations": []});
    let usage = json!({"input_tokens": 3, "output_tokens": 2, "total_tokens": 5});
    let added = json!({"type": "response.output_item.added", "output_index": 0, "item": empty});
    let done =
        json!({"type": "response.output_item.done", "output_index": 0, "item": item("word")});
    let rest = [
        event(&added),
        place("response.content_part.added", "part", part),
        place("response.output_text.delta", "delta", json!("word")),
        place("response.output_text.done", "text", json!("word")),
        event(&done),
        event(&json!({
            "type": "response.completed",
            "response": response("completed", json!([item("word")]), usage),
        })),
    ];
    let first = open("response.created") + &open("response.in_progress");
    vec![first.into_bytes(), rest.concat().into_bytes()]
}

fn bursts() -> Vec<Burst> {
    let chat = || json!({"provider": "openai_compatible", "speaks_responses": true});
    let burst = |name, call, pieces| Burst {
        name,
        fields: json!({}),
        call,
        count: (50, 2),
        coding: "",
        pieces,
        last: "message_stop",
        usage: Some((3, 2)),
    };
    let at_once = || vec![messages(200, 2_000)];
    let large = || vec![messages(6, 65_536)];
    let tiny = || vec![messages(3_000, 1)];
    vec![
        burst("400 KB at once", (MESSAGES, CLAUDE), at_once()),
        Burst {
            count: (150, 1),
            ..burst("400 KB at once, one key", (MESSAGES, CLAUDE), at_once())
        },
        Burst { last: "[DONE]", ..burst("400 KB for a Chat client", (CHAT, CLAUDE), at_once()) },
        Burst {
            count: (150, 6),
            last: "response.completed",
            ..burst("400 KB for a Responses client", (RESPONSES, CLAUDE), at_once())
        },
        burst("events of 64 KB", (MESSAGES, CLAUDE), large()),
        Burst { last: "[DONE]", ..burst("events of 64 KB for Chat", (CHAT, CLAUDE), large()) },
        burst("an event of 1 MB in the middle", (MESSAGES, CLAUDE), vec![messages(1, 1_000_000)]),
        burst("many small events", (MESSAGES, CLAUDE), tiny()),
        Burst {
            count: (4, 1),
            usage: None,
            ..burst("many passes in the usage", (MESSAGES, CLAUDE), vec![many_passes(1_000_000)])
        },
        Burst {
            coding: "gzip",
            ..burst("400 KB in gzip", (MESSAGES, CLAUDE), vec![gzip(&messages(200, 2_000))])
        },
        Burst {
            coding: "gzip",
            last: "[DONE]",
            ..burst(
                "small events in gzip for Chat",
                (CHAT, CLAUDE),
                vec![gzip(&messages(3_000, 1))],
            )
        },
        Burst {
            coding: "br",
            ..burst("400 KB under the name of a coding", (MESSAGES, CLAUDE), at_once())
        },
        Burst {
            fields: chat(),
            count: (150, 30),
            last: "response.completed",
            ..burst("repeated instructions", (RESPONSES, GPT), echoed(300_000))
        },
        Burst {
            fields: chat(),
            count: (50, 10),
            ..burst("repeated instructions for a Messages client", (MESSAGES, GPT), echoed(300_000))
        },
    ]
}

/// An upstream that sends these pieces, and how often it was called.
async fn start_upstream(burst: &Burst) -> (SocketAddr, Arc<AtomicUsize>) {
    let coding = match burst.coding {
        "" => String::new(),
        coding => format!("content-encoding: {coding}\r\n"),
    };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{coding}\r\n");
    let pieces = Arc::new((head, burst.pieces.clone()));
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let address = listen(move |stream| {
        let (pieces, counter) = (Arc::clone(&pieces), Arc::clone(&counter));
        async move { send(stream, &pieces, &counter).await }
    })
    .await;
    (address, calls)
}

async fn send(
    mut stream: TcpStream,
    (head, pieces): &(String, Vec<Vec<u8>>),
    calls: &AtomicUsize,
) -> std::io::Result<()> {
    let Some((_, body)) = request(&mut stream).await? else { return Ok(()) };
    if !body.is_empty() {
        calls.fetch_add(1, Ordering::Relaxed);
    }
    stream.write_all(head.as_bytes()).await?;
    for (at, piece) in pieces.iter().enumerate() {
        if at > 0 {
            tokio::time::sleep(THINKING).await;
        }
        stream.write_all(piece).await?;
    }
    stream.shutdown().await
}

async fn ask(key: TestKey, (path, model): (&str, &str)) -> ClientResponse {
    let mut body = json!({"model": model, "stream": true});
    match path {
        RESPONSES => body["input"] = json!("hi"),
        _ => body["messages"] = json!([{"role": "user", "content": "hi"}]),
    }
    if path == MESSAGES {
        body["max_tokens"] = json!(64);
    }
    ClientResponse::to(key.request("POST", path).body(body.to_string())).await
}

pub(crate) async fn run(class: AttackClass) {
    for burst in bursts() {
        let Burst { name, call, count: (count, key_count), last, usage, .. } = burst;
        let system = TestSystem::builder().env("BATON_LOG", "error").start().await;
        let (upstream, calls) = start_upstream(&burst).await;
        system.account_with("bursting", &format!("http://{upstream}"), burst.fields.clone()).await;
        let mut keys = Vec::new();
        for number in 0..key_count {
            keys.push(system.key(&format!("ci {number}")).create().await);
        }
        let watch = HealthWatch::start(address(&system.relay_url()), Duration::from_millis(30));
        let asking = (0..count).map(|at| tokio::spawn(ask(keys[at % key_count].clone(), call)));
        let answers: Vec<_> = join_all(asking).await.into_iter().flatten().collect();
        let is_whole = |answer: &&ClientResponse| {
            let is_same = usage.is_some() || answer.body == burst.pieces.concat();
            answer.status == 200 && !answer.torn && answer.text().contains(last) && is_same
        };
        let whole = answers.iter().filter(is_whole).count();
        class.check(&format!("{name}: complete"), whole == count, || {
            let broken = answers.iter().find(|answer| !is_whole(answer));
            let text = broken.map(ClientResponse::text).unwrap_or_default();
            let text = text.get(text.len().saturating_sub(300)..).unwrap_or_default().to_owned();
            format!("{whole} of {count}: {text}")
        });
        let calls = calls.load(Ordering::Relaxed);
        class.check(&format!("{name}: calls"), calls == count, || format!("{calls} of {count}"));
        let most = memory_mb(system.process_id(), "VmHWM");
        let seen = watch.finish(HEALTH_MAX).await;
        println!("  {name}: {whole} of {count}, {most} MB at most, health {seen:?}");
        class.check(&format!("{name}: memory"), most < RESIDENT_MB_MAX, || {
            format!("{most} MB resident")
        });
        let said = health(address(&system.relay_url())).await;
        class.check(&format!("{name}: health"), said == "200", || said.clone());
        check_records(&class, &system, &burst, &keys).await;
    }
}

/// Each call has one record with the usage that the upstream reported.
async fn check_records(class: &AttackClass, system: &TestSystem, burst: &Burst, keys: &[TestKey]) {
    let (count, key_count) = burst.count;
    let is_right = |event: &Value| {
        let tokens = &event["tokens"];
        let (input, output) = (tokens["input"].as_u64(), tokens["output"].as_u64());
        match burst.usage {
            Some(usage) => {
                (input, output) == (Some(usage.0), Some(usage.1)) && event["estimated"] == false
            }
            None => output > Some(0) && event["estimated"] == true,
        }
    };
    for (at, key) in keys.iter().enumerate() {
        let wanted = (count + key_count - 1 - at) / key_count;
        let deadline = std::time::Instant::now() + RECORDS;
        let mut events = system.events(key).await;
        while events.len() < wanted && std::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(100)).await;
            events = system.events(key).await;
        }
        let right = events.iter().filter(|event| is_right(event)).count();
        class.check(&format!("{}: records of key {at}", burst.name), right == wanted, || {
            let wrong = events.iter().find(|event| !is_right(event));
            format!("{right} of {} for {wanted} calls: {wrong:?}", events.len())
        });
    }
}
