//! Streams in codings that the relay cannot read, and streams that are damaged or cut in their first
//! bytes: what the client gets, what is recorded, and that no second call is billed.

use std::io::Write as _;

use baton_protocol::bedrock::SseToFrames;
use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{MODEL, TestKey, TestSystem};
use baton_test_harness::upstream::FakeUpstream;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::unusable_answers::RawUpstream;

const MESSAGES: &str = "/v1/messages";
const CHAT: &str = "/v1/chat/completions";
const INVOKE: &str = "/model/claude-haiku-4-5/invoke-with-response-stream";
const SSE: &str = "text/event-stream";
const FRAMES: &str = "application/vnd.amazon.eventstream";

/// An upstream's stream, and how the client asks for it.
struct Case {
    name: &'static str,
    provider: &'static str,
    path: &'static str,
    content_type: &'static str,
    coding: &'static str,
    body: Vec<u8>,
}

impl Case {
    fn new(name: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let (path, content_type) = (MESSAGES, SSE);
        Self { name, provider: "anthropic", path, content_type, coding: "", body: body.into() }
    }

    fn coded(self, coding: &'static str) -> Self {
        Self { coding, ..self }
    }

    /// A stream of this provider for a client that calls `path`.
    fn between(self, provider: &'static str, path: &'static str) -> Self {
        let content_type = if provider == "bedrock" { FRAMES } else { SSE };
        Self { provider, path, content_type, ..self }
    }

    /// The bytes of the answer.
    fn answer(&self) -> Vec<u8> {
        let coding = match self.coding {
            "" => String::new(),
            coding => format!("content-encoding: {coding}\r\n"),
        };
        let kind = self.content_type;
        let head = format!("HTTP/1.1 200 X\r\ncontent-type: {kind}\r\n{coding}\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    fn request(&self) -> Value {
        let messages = json!([{"role": "user", "content": "hi"}]);
        match self.path {
            INVOKE => json!({
                "anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "messages": messages
            }),
            _ => json!({"model": MODEL, "max_tokens": 64, "stream": true, "messages": messages}),
        }
    }

    /// Asks an account with this stream, for a key with a money limit. A second account answers
    /// well. Returns the answer and the only record.
    async fn ask(&self, system: &TestSystem) -> (ClientResponse, Value) {
        let (raw, second) = (RawUpstream::start(self.answer()), FakeUpstream::start());
        let group = system.group(self.name).await;
        for (name, url, priority) in [("first", &raw.url, 1), ("second", &second.url(), 2)] {
            let name = format!("{} {name}", self.name).replace(' ', "-");
            let mut fields =
                json!({"provider": self.provider, "groups": [group], "priority": priority});
            if self.provider == "bedrock" {
                let model = "anthropic.claude-haiku-4-5-20251001-v1:0";
                fields["model_map"] = json!({MODEL: model, "claude-haiku-4-5": model});
            }
            system.account_with(&name, url, fields).await;
        }
        let key: TestKey = system.key(self.name).group(&group).limit_usd_daily("5").create().await;
        let request = key.request("POST", self.path).header("accept-encoding", "gzip");
        let response = ClientResponse::to(request.body(self.request().to_string())).await;
        assert_ne!(raw.calls(), 0, "{}: {}", self.name, response.text());
        let events = system.events_of(&key, 1).await;
        assert_eq!(raw.calls(), 1, "{}: {}", self.name, response.text());
        assert_eq!(second.exchanges().len(), 0, "{}: a second call is billed", self.name);
        assert_ne!(events[0]["cost_usd"], json!("0.000000000000"), "{}: {events:?}", self.name);
        (response, events[0].clone())
    }
}

/// The events of a stream of the Messages API, before its end.
fn started(text: &str) -> String {
    let start = json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": [],
        "usage": {"input_tokens": 20, "output_tokens": 1}
    }});
    let block = json!({"type": "content_block_start", "index": 0,
        "content_block": {"type": "text", "text": ""}});
    let delta = format!(
        r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#
    );
    format!(
        "event: message_start\ndata: {start}\n\nevent: content_block_start\ndata: {block}\n\n\
         event: content_block_delta\ndata: {delta}\n\n"
    )
}

fn whole(text: &str) -> String {
    let end = json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 1000}});
    format!(
        "{}event: message_delta\ndata: {end}\n\n\
         event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n",
        started(text)
    )
}

fn gzip(plain: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain.as_bytes()).expect("a buffer");
    encoder.finish().expect("a buffer")
}

#[tokio::test]
async fn stream_in_an_unreadable_coding_passes_and_is_settled_at_the_reservation() {
    let system = TestSystem::empty().await;
    let body: Vec<u8> = (0..6000_u32).map(|index| (index * 7 % 251) as u8).collect();
    let new = |name, coding| Case::new(name, body.clone()).coded(coding);
    for case in [
        new("br", "br"),
        new("zstd", "zstd"),
        new("deflate", "Deflate"),
        new("several", "gzip, gzip"),
        new("several headers", "gzip\r\ncontent-encoding: br"),
        new("dictionary", "dcb"),
        new("frames", "br").between("bedrock", INVOKE),
    ] {
        let (response, record) = case.ask(&system).await;
        assert_eq!(response.status, 200, "{}: {}", case.name, response.text());
        assert!(response.body == case.body && !response.torn, "{}", case.name);
        assert!(response.headers.contains_key("content-encoding"), "{}", case.name);
        assert_eq!(record["outcome"], "complete", "{}: {record}", case.name);
        assert_eq!(record["estimated"], true, "{}: {record}", case.name);
    }
}

/// A gateway that decompresses an answer can keep the vendor's header.
#[tokio::test]
async fn plain_stream_with_a_coding_is_read_and_loses_it() {
    let system = TestSystem::empty().await;
    for (name, coding) in [
        ("plain gzip", "gzip"),
        ("plain br", "br"),
        ("plain zstd", "zstd"),
        ("plain twice", "gzip\r\ncontent-encoding: br"),
    ] {
        let (response, record) = Case::new(name, whole("hi")).coded(coding).ask(&system).await;
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        assert_eq!(response.text(), whole("hi"), "{name}");
        assert_eq!(response.header("content-encoding"), None, "{name}");
        assert_eq!(record["outcome"], "complete", "{name}: {record}");
        assert_eq!(record["estimated"], false, "{name}: {record}");
        assert_eq!(record["tokens"]["output"], 1000, "{name}: {record}");
    }
}

#[tokio::test]
async fn stream_in_an_unreadable_coding_cannot_be_changed() {
    let system = TestSystem::empty().await;
    let new = |name| Case::new(name, vec![0x1b; 6000]).coded("br");
    for case in [
        new("translated").between("openai_compatible", MESSAGES),
        new("framed").between("anthropic", INVOKE),
        new("unframed").between("bedrock", MESSAGES),
        new("without usage").between("openai_compatible", CHAT),
    ] {
        let (response, record) = case.ask(&system).await;
        assert_eq!(response.status, 502, "{}: {}", case.name, response.text());
        assert!(response.text().contains("content-encoding"), "{}", response.text());
        assert!(!response.headers.contains_key("content-encoding"), "{}", case.name);
        assert_eq!(record["outcome"], "upstream_error", "{}: {record}", case.name);
        assert_eq!(record["estimated"], true, "{}: {record}", case.name);
    }
}

#[tokio::test]
async fn bytes_after_the_compressed_stream_are_ignored() {
    let system = TestSystem::empty().await;
    for (name, rest) in [("junk", b"junk".as_slice()), ("zeros", &[0; 512])] {
        let body = [&gzip(&whole("hi")), rest].concat();
        let case = Case::new(name, body).coded("gzip").between("anthropic", INVOKE);
        let (response, record) = case.ask(&system).await;
        assert_eq!(response.status, 200, "{name}: {}", response.text());
        assert!(!response.torn, "{name}");
        assert_eq!(record["outcome"], "complete", "{name}: {record}");
        assert_eq!(record["tokens"]["output"], 1000, "{name}: {record}");
    }
}

/// The events before the damage reach the client, although the damage arrives together with them.
#[tokio::test]
async fn damage_in_the_first_bytes_ends_a_stream_that_has_begun() {
    let system = TestSystem::empty().await;
    let text = "word".repeat(100);
    let sse = started(&text);
    let mut checksum = gzip(&sse);
    let at = checksum.len() - 5;
    checksum[at] ^= 1;
    let frames = SseToFrames::default().push(sse.as_bytes());
    let mut damaged = SseToFrames::default().push(sse.as_bytes()).to_vec();
    damaged[40] ^= 1;
    let frames = [&frames[..], &damaged].concat();
    for case in [
        Case::new("checksum", checksum.clone()).coded("gzip"),
        Case::new("checksum framed", checksum).coded("gzip").between("anthropic", INVOKE),
        Case::new("frames", frames.clone()).between("bedrock", INVOKE),
        Case::new("frames as events", frames).between("bedrock", MESSAGES),
    ] {
        let (response, record) = case.ask(&system).await;
        assert_eq!(response.status, 200, "{}: {}", case.name, response.text());
        let ends_badly = response.torn || response.text().contains("\"error\"");
        assert!(ends_badly || case.path == INVOKE, "{}: {}", case.name, response.text());
        assert_eq!(record["outcome"], "upstream_error", "{}: {record}", case.name);
        assert_eq!(record["tokens"]["output"], 100, "{}: {record}", case.name);
    }
}

/// The first event of a stream was cut, but a model's output had already arrived. So the stream has
/// begun for a client of the same protocol.
#[tokio::test]
async fn output_in_half_a_first_event_is_counted_once() {
    let system = TestSystem::empty().await;
    let text = "word".repeat(100);
    let chunk = format!(r#"data: {{"choices":[{{"index":0,"delta":{{"content":"{text}"#);
    let status = [("chat", CHAT, 200), ("translated", MESSAGES, 200)];
    for (name, path, status) in status {
        let case = Case::new(name, chunk.clone()).between("openai_compatible", path);
        let (response, record) = case.ask(&system).await;
        assert_eq!(response.status, status, "{name}: {}", response.text());
        assert_eq!(record["outcome"], "upstream_error", "{name}: {record}");
        assert_eq!(record["tokens"]["output"], 100, "{name}: {record}");
        assert_eq!(record["estimated"], true, "{name}: {record}");
    }
    let messages = started(&text);
    let cut = messages.rfind("word").expect("text");
    let start = messages.find("event: content_block_delta").expect("a delta");
    let case = Case::new("messages", &messages[start..cut + 4]);
    let (response, record) = case.ask(&system).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(response.torn || response.text().contains("\"error\""), "{}", response.text());
    assert_eq!(record["tokens"]["output"], 100, "{record}");
}
