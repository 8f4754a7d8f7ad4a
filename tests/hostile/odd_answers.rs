//! Answers of upstreams in odd forms: the form of a gateway, a proxy or another version of an API.
//! The client must get the answer or an error of its API, the call must be recorded once with its
//! usage, no account may be marked as failed, and no output may be bought twice.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem, pico};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::bad_upstream::{frame, gzip, listen, request};
use crate::class::AttackClass;
use crate::odd_forms::{INPUT, OUTPUT, Odd, Protocol, WORD};
use crate::odd_streams::odd_streams;
use crate::odd_wholes::odd_wholes;

const FRAMES: &str = "application/vnd.amazon.eventstream";
/// The output that a request permits. An answer with hidden usage costs this much.
const PERMITTED: u64 = 1_000;

/// The number of simultaneous requests.
const AT_ONCE: usize = 8;

/// The answers by case, and how often each was sent.
type Answers = HashMap<String, (Vec<u8>, usize)>;

/// An upstream that answers by the word in the request that begins with `case-`.
#[derive(Clone)]
struct OddUpstream {
    address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
}

impl OddUpstream {
    async fn start() -> Self {
        let answers: Arc<Mutex<Answers>> = Arc::default();
        let served = Arc::clone(&answers);
        let address = listen(move |stream| Self::serve(stream, Arc::clone(&served))).await;
        Self { address, answers }
    }

    fn set(&self, case: &str, answer: Vec<u8>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(case.to_owned(), (answer, 0));
    }

    fn calls(&self, case: &str) -> usize {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(case).map_or(0, |(_, calls)| *calls)
    }

    async fn serve(mut stream: TcpStream, answers: Arc<Mutex<Answers>>) -> std::io::Result<()> {
        while let Some((_, body)) = request(&mut stream).await? {
            let text = String::from_utf8_lossy(&body);
            let case = text.split("case-").nth(1).and_then(|rest| rest.split('"').next());
            let answer = case.and_then(|case| {
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                let (answer, calls) = answers.get_mut(case)?;
                *calls += 1;
                Some(answer.clone())
            });
            let Some(answer) = answer else {
                let list = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                             content-length: 11\r\n\r\n{\"data\":[]}";
                stream.write_all(list).await?;
                continue;
            };
            stream.write_all(&answer).await?;
            stream.shutdown().await?;
        }
        Ok(())
    }
}

/// The kinds of accounts, with the protocol of their upstream and a model.
const KINDS: [(&str, Protocol, &str); 4] = [
    ("anthropic", Protocol::Messages, "claude-haiku-4-5"),
    ("chat", Protocol::Chat, "gpt-4o"),
    ("responses", Protocol::Responses, "gpt-5.3-codex"),
    ("bedrock", Protocol::Messages, "claude-haiku-4-5"),
];

/// The APIs of clients.
const CLIENTS: [&str; 4] = ["messages", "chat", "responses", "bedrock"];

struct OddAnswers {
    /// The number of the next request.
    serial: AtomicUsize,
    class: AttackClass,
    system: TestSystem,
    upstream: OddUpstream,
}

/// An account's group, with a key that has a money limit and one that has none.
struct Target {
    kind: &'static str,
    model: &'static str,
    accounts: Vec<String>,
    limited: TestKey,
    free: TestKey,
}

/// A request that was answered, until its record is checked.
#[expect(clippy::struct_excessive_bools, reason = "independent observations")]
struct Asked {
    name: String,
    id: String,
    is_limited: bool,
    /// Whether the client got an error.
    is_error: bool,
    /// Whether the client got output.
    has_word: bool,
    /// Whether the answer is not one of the API, and the client got an error for it.
    is_foreign: bool,
}

impl OddAnswers {
    async fn target(&self, kind: &'static str, model: &'static str) -> Target {
        let group = self.system.group(kind).await;
        let mut accounts = Vec::new();
        for priority in [1, 2] {
            let mut fields = match kind {
                "anthropic" => json!({}),
                "chat" => json!({"provider": "openai_compatible"}),
                "responses" => json!({"provider": "openai_compatible", "speaks_responses": true}),
                _ => json!({"provider": "bedrock", "model_map": {
                    "claude-haiku-4-5": "anthropic.claude-haiku-4-5-20251001-v1:0",
                }}),
            };
            fields["groups"] = json!([group]);
            fields["priority"] = json!(priority);
            let name = format!("{kind}-{priority}");
            let url = format!("http://{}", self.upstream.address);
            accounts.push(self.system.account_with(&name, &url, fields).await);
        }
        let limited = self.system.key(kind).group(&group).limit_usd_daily("100000").create().await;
        let free = self.system.key(kind).group(&group).create().await;
        Target { kind, model, accounts, limited, free }
    }

    /// Sends one request whose answer has this form, and checks what the client gets.
    async fn ask(
        &self,
        target: &Target,
        (client, is_stream): (&str, bool),
        odd: &Odd,
        answer: Vec<u8>,
        is_limited: bool,
    ) -> Option<Asked> {
        let form = if is_stream { "stream" } else { "whole" };
        let name = format!("{} to {client} from {}, {form}", odd.name, target.kind);
        let case = self.serial.fetch_add(1, Ordering::Relaxed).to_string();
        self.upstream.set(&case, answer);
        let key = if is_limited { &target.limited } else { &target.free };
        let (path, body) = call(client, target.model, &format!("case-{case}"), is_stream);
        let request = key.request("POST", &path).header("content-type", "application/json");
        let request = request.header("accept-encoding", "gzip").body(body.to_string());
        let response = ClientResponse::to(request).await;
        let text = readable(&response);
        let is_error = is_error(client, &response, &text);
        let is_answer = response.status == 200 && (odd.is_silent || text.contains(WORD));
        let class = &self.class;
        class.check(&name, is_answer || is_error, || format!("{} {:.400}", response.status, text));
        if odd.must_be_read {
            class.check(&format!("{name}: read"), is_answer && !is_error, || {
                format!("{} {text:.600}", response.status)
            });
        }
        let is_foreign = odd.is_foreign && is_error;
        let calls = self.upstream.calls(&case);
        class.check(&format!("{name}: calls"), calls == 1 || is_foreign, || {
            format!("{calls} calls")
        });
        let id = response.header("x-baton-request-id").map(str::to_owned);
        class.check(&format!("{name}: an id"), id.is_some(), || format!("{:?}", response.headers));
        let has_word = text.contains(WORD);
        Some(Asked { name, id: id?, is_limited, is_error, has_word, is_foreign })
    }

    /// No answer may count against an account.
    async fn check_accounts(&self, target: &Target, client: &str) {
        for account in &target.accounts {
            let account = self.system.admin().get(&format!("/accounts/{account}")).await.json();
            let is_well = account["status"] == "ready" && account["status_reason"].is_null();
            let name = format!("{} to {client}: account", target.kind);
            self.class.check(&name, is_well, || account.to_string());
        }
    }

    /// Every request has one record, with the usage of the answer or with more.
    async fn check_records(&self, target: &Target, asked: &[Asked]) {
        for key in [&target.limited, &target.free] {
            let is_limited = key.id == target.limited.id;
            let wanted: Vec<_> = asked.iter().filter(|one| one.is_limited == is_limited).collect();
            let mut events = Vec::new();
            for _ in 0..200 {
                events = self.system.events(key).await;
                if events.len() >= wanted.len() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            for one in wanted {
                let own: Vec<_> = events.iter().filter(|event| event["id"] == one.id).collect();
                let is_right = matches!(own.as_slice(), [event] if is_counted(one, event));
                self.class.check(&format!("{}: the record", one.name), is_right, || {
                    format!("limited: {is_limited} {own:?}")
                });
            }
        }
    }
}

/// Whether the record has the usage of the answer, or an estimate that is not less than that.
fn is_counted(asked: &Asked, event: &Value) -> bool {
    let output = event["tokens"]["output"].as_u64().unwrap_or_default();
    let input = event["tokens"]["input"].as_u64().unwrap_or_default();
    let cost = pico(&event["cost_usd"]);
    if asked.is_foreign {
        return true;
    }
    if event["estimated"] == false {
        return (input, output) == (INPUT, OUTPUT) && cost > 0;
    }
    if asked.is_limited && !asked.is_error {
        // The price of a token of output, in pico-dollars, is at least this.
        return cost >= i128::from(PERMITTED) * 5_000_000;
    }
    cost > 0 && (output > 0 || !asked.has_word)
}

/// The path and the body of a request.
fn call(client: &str, model: &str, text: &str, is_stream: bool) -> (String, Value) {
    let messages = json!([{"role": "user", "content": text}]);
    match client {
        "messages" => (
            "/v1/messages".to_owned(),
            json!({
                "model": model, "max_tokens": PERMITTED, "stream": is_stream, "messages": messages,
            }),
        ),
        "chat" => {
            let field =
                if model.starts_with("gpt-5") { "max_completion_tokens" } else { "max_tokens" };
            let mut body = json!({"model": model, "stream": is_stream, "messages": messages});
            body[field] = json!(PERMITTED);
            ("/v1/chat/completions".to_owned(), body)
        }
        "responses" => (
            "/v1/responses".to_owned(),
            json!({
                "model": model, "max_output_tokens": PERMITTED, "stream": is_stream, "input": text,
            }),
        ),
        _ => {
            let action = if is_stream { "invoke-with-response-stream" } else { "invoke" };
            let body = json!({
                "anthropic_version": "bedrock-2023-05-31", "max_tokens": PERMITTED,
                "messages": messages,
            });
            (format!("/model/{model}/{action}"), body)
        }
    }
}

/// The text of an answer, decompressed, and with the contents of Bedrock's frames.
fn readable(response: &ClientResponse) -> String {
    use base64::Engine as _;
    use std::io::Read as _;
    let mut plain = response.body.to_vec();
    let coding = response.header("content-encoding").unwrap_or_default().to_lowercase();
    if coding.contains("gzip") {
        let mut decoded = Vec::new();
        let mut reader = flate2::read::MultiGzDecoder::new(plain.as_slice());
        if reader.read_to_end(&mut decoded).is_ok() {
            plain = decoded;
        }
    }
    let mut text = String::from_utf8_lossy(&plain).into_owned();
    if response.header("content-type") == Some(FRAMES) {
        let parts: Vec<_> = text.split(r#""bytes":""#).skip(1).map(str::to_owned).collect();
        for part in parts {
            let encoded = part.split('"').next().unwrap_or_default();
            let decoded = base64::prelude::BASE64_STANDARD.decode(encoded).unwrap_or_default();
            text.push_str(&String::from_utf8_lossy(&decoded));
        }
    }
    text
}

/// Whether the answer says in the form of the client's API that it failed, or breaks.
fn is_error(client: &str, response: &ClientResponse, text: &str) -> bool {
    if response.torn {
        return true;
    }
    if response.status >= 400 {
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        return match client {
            "messages" => body["type"] == "error" && body["error"]["message"].is_string(),
            "bedrock" => body["message"].is_string() || body["error"]["message"].is_string(),
            _ => body["error"]["message"].is_string(),
        };
    }
    // These are no errors, although some gateways write them.
    let text = text.replace(r#""error":{}"#, "").replace(r#""error":{"code":0,"message":""}"#, "");
    text.contains(r#""type":"error""#)
        || text.contains(r#""error":{"#)
        || text.contains("response.failed")
        || text.contains("exception")
}

fn head(content_type: &str, coding: &str) -> String {
    let coding = match coding {
        "" => String::new(),
        coding => format!("content-encoding: {coding}\r\n"),
    };
    let kind = match content_type {
        "" => String::new(),
        kind => format!("content-type: {kind}\r\n"),
    };
    format!("HTTP/1.1 200 OK\r\n{kind}{coding}connection: close\r\n\r\n")
}

/// The bytes of an answer of this form.
fn bytes(odd: &Odd) -> Vec<u8> {
    let body = match odd.coding {
        "gzip" | "x-gzip" | "GZip" | "gzip, identity" | "none, gzip" => gzip(odd.body.as_bytes()),
        "gzip, gzip" => gzip(&gzip(odd.body.as_bytes())),
        // Nobody here reads it: any bytes will do.
        "br" | "deflate" | "zstd" | "compress" | "gzip, br" => {
            odd.body.bytes().map(|byte| byte ^ 0x55).collect()
        }
        _ => odd.body.as_bytes().to_vec(),
    };
    [head(odd.content_type, odd.coding).as_bytes(), &body].concat()
}

/// The events of a stream of the Messages API, in Bedrock's frames.
fn framed(odd: &Odd) -> Option<Vec<u8>> {
    let is_plain = odd.coding.is_empty() && odd.content_type == "text/event-stream";
    if !is_plain || !odd.can_be_framed {
        return None;
    }
    let events = odd.body.split("\n\n").filter_map(|event| event.split_once("data: "));
    let frames: Vec<u8> = events.flat_map(|(_, data)| frame(data)).collect();
    Some([head(FRAMES, "").as_bytes(), &frames].concat())
}

pub(crate) async fn run(class: AttackClass) {
    let system = TestSystem::builder().env("BATON_LOG", "error").start().await;
    let upstream = OddUpstream::start().await;
    let all = OddAnswers { serial: AtomicUsize::default(), class, system, upstream };
    for (kind_at, (kind, protocol, model)) in KINDS.into_iter().enumerate() {
        let (streams, wholes) = (odd_streams(protocol), odd_wholes(protocol));
        for (client_at, client) in CLIENTS.into_iter().enumerate() {
            let target = all.target(kind, model).await;
            // A client of the same API gets all answers, each other one a third of them.
            let is_same = client == kind || (client, kind) == ("messages", "anthropic");
            let is_tried = |at: &usize| {
                is_same || (at + kind_at + client_at).is_multiple_of(CLIENTS.len() - 1)
            };
            let mut asking = Vec::new();
            for (_, odd) in streams.iter().enumerate().filter(|(at, _)| is_tried(at)) {
                let answer = if kind == "bedrock" { framed(odd) } else { Some(bytes(odd)) };
                let Some(answer) = answer else { continue };
                for is_limited in keys_for(odd) {
                    asking.push((odd.clone(), true, is_limited, answer.clone()));
                }
            }
            for (_, odd) in wholes.iter().enumerate().filter(|(at, _)| is_tried(at)) {
                for (is_stream, is_limited) in
                    [false, true].into_iter().flat_map(|it| keys_for(odd).map(move |key| (it, key)))
                {
                    asking.push((odd.clone(), is_stream, is_limited, bytes(odd)));
                }
            }
            // A stream where none was asked.
            for odd in streams.iter().take(4).filter(|_| kind != "bedrock") {
                let odd = Odd { must_be_read: false, ..odd.clone() };
                let answer = bytes(&odd);
                asking.push((odd, false, true, answer));
            }
            let asked = asking.into_iter().map(async |(odd, is_stream, is_limited, answer)| {
                all.ask(&target, (client, is_stream), &odd, answer, is_limited).await
            });
            let asked: Vec<_> = futures_util::stream::iter(asked)
                .buffer_unordered(AT_ONCE)
                .filter_map(std::future::ready)
                .collect()
                .await;
            all.check_accounts(&target, client).await;
            all.check_records(&target, &asked).await;
        }
    }
}

/// The keys that ask: with a money limit, and without one if an estimate is recorded.
fn keys_for(odd: &Odd) -> impl Iterator<Item = bool> + use<> {
    let has_usage = odd.has_usage;
    [true, false].into_iter().filter(move |is_limited| *is_limited || !has_usage)
}
