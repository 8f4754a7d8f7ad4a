//! The answer for each request.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::content::{self, Block, HELLO, Message};
use super::openai::{Form, tool_result};
use super::prepared_answers::STAMP;
use super::reply::{Body, LedgerEntry, Reply, ReplyStep};
use super::scenario::last_user_message;
use super::serve::Shared;
use super::{Kind, RecordedRequest, Scenario, ServedTokens, bedrock, sts};
use crate::fixtures;

const MODELS: [(&str, &str); 6] = [
    ("claude-opus-5-5", "Claude Opus 5.5"),
    ("claude-sonnet-5-5", "Claude Sonnet 5.5"),
    ("claude-haiku-5-5", "Claude Haiku 5.5"),
    ("claude-opus-4-8", "Claude Opus 4.8"),
    ("claude-sonnet-4-6", "Claude Sonnet 4.6"),
    ("claude-haiku-4-5-20251001", "Claude Haiku 4.5"),
];

/// The answer to any request.
pub(super) fn answer(shared: &Shared, request: &RecordedRequest, serial: u64) -> Reply {
    let path = request.path();
    if path.starts_with("/_") {
        return about_itself(shared, request);
    }
    if path.starts_with("/model/") {
        return bedrock::answer(shared, request, serial);
    }
    if path == "/anthropic/v1/messages" {
        return bedrock::natively(shared, request, serial);
    }
    if path == "/" && request.method == "POST" {
        return sts::answer(request);
    }
    if request.method == "HEAD" {
        return Reply::json(200, &json!({}));
    }
    if request.header("x-api-key").is_none() && request.header("authorization").is_none() {
        return Reply::error(401, "authentication_error", "x-api-key header is required");
    }
    if !shared.takes(request) {
        return Reply::error(401, "authentication_error", "invalid x-api-key");
    }
    let reply = match (request.method.as_str(), path) {
        ("POST", "/v1/messages" | "/v1/chat/completions" | "/v1/responses") => {
            message(shared, request, serial)
        }
        ("POST", "/v1/messages/count_tokens") => {
            shared.update_ledger(|ledger| ledger.count_tokens += 1);
            let tokens = ServedTokens::of_body(&request.body).input;
            Reply::json(200, &json!({"input_tokens": tokens}))
        }
        ("GET", "/v1/models") => models(),
        ("GET", _) if path.starts_with("/v1/models/") => model(&path["/v1/models/".len()..]),
        _ => Reply::error(404, "not_found_error", &format!("Not found: {path}")),
    };
    with_upstream_headers(reply, serial)
}

/// Further headers of a real upstream. The relay forwards some of them and must remove others.
fn with_upstream_headers(mut reply: Reply, serial: u64) -> Reply {
    if !reply.headers.iter().any(|(name, _)| name == "request-id") {
        reply = reply.with("request-id", format!("req_011Fake{serial:06}"));
    }
    reply
        .with("anthropic-organization-id", "00000000-0000-4000-8000-0000000000aa")
        .with("anthropic-ratelimit-requests-limit", "50")
        .with("anthropic-ratelimit-requests-remaining", "49")
        .with("set-cookie", "fake=upstream; Path=/")
        .with("x-upstream-extra", "kept")
}

/// Routes for other processes, with the functions that tests call as methods of `FakeUpstream`.
fn about_itself(shared: &Shared, request: &RecordedRequest) -> Reply {
    let path = request.path();
    if path == "/_ledger" {
        return Reply::json(200, &json!(shared.ledger()));
    }
    if path == "/_requests" {
        let all: Vec<Value> = shared
            .exchanges()
            .iter()
            .map(|exchange| {
                json!({
                    "method": exchange.request.method, "target": exchange.request.target,
                    "headers": exchange.request.headers, "body": exchange.request.json(),
                    "status": exchange.status, "ending": format!("{:?}", exchange.ending),
                })
            })
            .collect();
        return Reply::json(200, &json!(all));
    }
    if let Some(name) = path.strip_prefix("/_gate/") {
        shared.gate(name).open();
        return Reply::json(200, &json!({"opened": name}));
    }
    match Scenario::try_parse(&String::from_utf8_lossy(&request.body)) {
        Ok(scenario) if path == "/_next" => shared.queue(scenario),
        Ok(scenario) if path == "/_always" => shared.set_default(scenario),
        _ => return Reply::error(404, "not_found_error", "no such route"),
    }
    Reply::json(200, &json!({}))
}

fn models() -> Reply {
    let data: Vec<Value> = MODELS.iter().map(|(id, name)| model_row(id, name)).collect();
    let (first, last) = (MODELS[0].0, MODELS[MODELS.len() - 1].0);
    let page = json!({"data": data, "has_more": false, "first_id": first, "last_id": last});
    Reply::json(200, &page)
}

fn model(id: &str) -> Reply {
    match MODELS.iter().find(|(known, _)| *known == id) {
        Some((id, name)) => Reply::json(200, &model_row(id, name)),
        None => Reply::error(404, "not_found_error", &format!("model: {id}")),
    }
}

fn model_row(id: &str, name: &str) -> Value {
    json!({"type": "model", "id": id, "display_name": name, "created_at": "2026-01-01T00:00:00Z"})
}

pub(super) fn message(shared: &Shared, request: &RecordedRequest, serial: u64) -> Reply {
    let scenario = match shared.take_queued().map(Ok).or_else(|| Scenario::named_by(request)) {
        Some(Ok(scenario)) => scenario,
        Some(Err(problem)) => return Reply::error(400, "invalid_request_error", &problem),
        None => shared.default_scenario(),
    };
    let is_meant = scenario.chance.is_none_or(|chance| die(serial) < chance);
    let scenario = if is_meant { scenario } else { plain(&scenario) };
    let body = request.json();
    let Some(model) = body["model"].as_str() else {
        return Reply::error(400, "invalid_request_error", "model: Field required");
    };
    let mut reply = match &scenario.kind {
        Kind::Error(name) => recorded_error(name),
        Kind::Status(status) => {
            let kind = if *status == 400 { "invalid_request_error" } else { "made_up_error" };
            Reply::json(*status, &Form::of(request).error(kind, &scenario.say))
        }
        Kind::Fixture(name) => recorded_stream(shared, &scenario, name),
        Kind::FirstError(kind) => {
            let event = Form::of(request).error_event(kind, &scenario.say);
            let bill = LedgerEntry { model: String::new(), usage: ServedTokens::default() };
            Reply { bill: None, ..stream_of(vec![ReplyStep::Write(event)], bill) }
        }
        _ => made_up(shared, &scenario, request, &body, serial),
    };
    for (name, value) in &scenario.headers {
        reply = reply.with(name, value);
    }
    if reply.status != 200 {
        shared.update_ledger(|ledger| ledger.row(model).errors += 1);
    }
    if scenario.gzip_always || (scenario.gzip && accepts_gzip(request)) {
        reply = gzipped(reply);
    }
    if let (Body::Whole(_), Some(gate)) = (&reply.body, &scenario.gate) {
        reply.before.push(ReplyStep::Gate(shared.gate(gate)));
    }
    reply
}

/// A pseudorandom number in 0..1000 from the serial number: the finalizer of `SplitMix64`.
fn die(serial: u64) -> u64 {
    let mut bits = serial.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits ^ (bits >> 31)) % 1000
}

/// A text with the length and pace of the scenario.
fn plain(scenario: &Scenario) -> Scenario {
    Scenario { events: scenario.events, pace: scenario.pace, ..Scenario::text() }
}

fn recorded_error(name: &str) -> Reply {
    match fixtures::errors().into_iter().find(|error| error.name == name) {
        Some(error) => Reply {
            status: error.status,
            headers: error.headers,
            before: Vec::new(),
            body: Body::Whole(error.body),
            bill: None,
        },
        None => Reply::error(400, "invalid_request_error", &format!("no error fixture {name}")),
    }
}

fn recorded_stream(shared: &Shared, scenario: &Scenario, name: &str) -> Reply {
    let Some(stream) = fixtures::stream(name) else {
        return Reply::error(400, "invalid_request_error", &format!("no stream fixture {name}"));
    };
    let size = scenario.size.unwrap_or(stream.body.len().max(1));
    let bill = LedgerEntry { model: "claude-opus-5-5".into(), usage: stream.usage() };
    stream_of(steps(shared, scenario, chunks(&stream.body, size)), bill)
}

fn made_up(
    shared: &Shared,
    scenario: &Scenario,
    request: &RecordedRequest,
    body: &Value,
    serial: u64,
) -> Reply {
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    let form = Form::of(request);
    let message = Message {
        id: format!("msg_01Fake{serial:06}"),
        model: model.clone(),
        blocks: blocks(scenario, body),
        usage: form.usage(&request.body),
    };
    let bill = LedgerEntry { model, usage: message.usage };
    if body["stream"] != true {
        let mut reply = Reply::json(200, &form.whole(&message));
        if matches!(scenario.kind, Kind::Hang | Kind::HangAfter(_)) {
            reply.before.push(ReplyStep::Hang);
        }
        if matches!(scenario.kind, Kind::Cut(_)) {
            reply.before.push(ReplyStep::Cut);
        }
        return Reply { bill: Some(bill), ..reply };
    }
    let mut events = form.events(&message, body);
    if scenario.kind == Kind::Pings {
        events = events
            .into_iter()
            .flat_map(|event| [event, content::ping(), content::comment()])
            .collect();
    }
    if let Kind::Cut(count) | Kind::HangAfter(count) = scenario.kind {
        events.truncate(count);
    }
    if let Some(size) = scenario.size {
        events = chunks(&events.concat().into(), size);
    }
    let mut reply = stream_of(steps(shared, scenario, events), bill);
    match (&scenario.kind, &mut reply.body) {
        (Kind::Hang, _) => reply.before.push(ReplyStep::Hang),
        (Kind::HangAfter(_), Body::Steps(steps)) => steps.push(ReplyStep::Hang),
        (Kind::Cut(_), Body::Steps(steps)) => steps.push(ReplyStep::Cut),
        _ => {}
    }
    reply
}

fn blocks(scenario: &Scenario, body: &Value) -> Vec<Block> {
    if let Some(said) = tool_result(body) {
        return vec![Block::Text(format!("The tool said: {}", said.trim()))];
    }
    let result = last_user_message(body)
        .and_then(|message| message["content"].as_array())
        .and_then(|blocks| blocks.iter().find(|block| block["type"] == "tool_result"));
    if let Some(result) = result {
        let said = match &result["content"] {
            Value::String(text) => text.clone(),
            other => other[0]["text"].as_str().unwrap_or_default().to_owned(),
        };
        return vec![Block::Text(format!("The tool said: {}", said.trim()))];
    }
    match &scenario.kind {
        Kind::Thinking => vec![Block::Thinking, Block::Text(HELLO.into())],
        Kind::Tool(argument) => {
            vec![Block::Text("I will use a tool.".into()), call(argument, body)]
        }
        _ => vec![Block::Text(match scenario.events {
            Some(count) => {
                let word = |n: usize| {
                    if scenario.stamp { format!("{STAMP} ") } else { format!("word{n} ") }
                };
                (0..count).map(word).collect()
            }
            None => HELLO.into(),
        })],
    }
}

fn call(argument: &str, body: &Value) -> Block {
    let tools = body["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let bash = tools.iter().any(|tool| tool_name(tool) == Some("Bash"));
    let (name, input) = if bash {
        ("Bash", json!({"command": argument, "description": "run a test command"}))
    } else {
        (tools.iter().find_map(tool_name).unwrap_or("none"), json!({"value": argument}))
    };
    Block::ToolUse { id: "toolu_01Fake000001".into(), name: name.to_owned(), input }
}

/// The name of a function, in any format.
fn tool_name(tool: &Value) -> Option<&str> {
    tool["name"].as_str().or_else(|| tool["function"]["name"].as_str())
}

fn stream_of(steps: Vec<ReplyStep>, bill: LedgerEntry) -> Reply {
    Reply {
        status: 200,
        headers: vec![
            ("content-type".into(), "text/event-stream; charset=utf-8".into()),
            ("cache-control".into(), "no-cache".into()),
        ],
        before: Vec::new(),
        body: Body::Steps(steps),
        bill: Some(bill),
    }
}

fn chunks(body: &Bytes, size: usize) -> Vec<Bytes> {
    (0..body.len()).step_by(size).map(|at| body.slice(at..body.len().min(at + size))).collect()
}

fn steps(shared: &Shared, scenario: &Scenario, chunks: Vec<Bytes>) -> Vec<ReplyStep> {
    let mut steps = Vec::new();
    for (index, chunk) in chunks.into_iter().enumerate() {
        if let Some(gate) = &scenario.gate {
            steps.push(ReplyStep::Gate(shared.gate(gate)));
        }
        if index > 0 && scenario.pace > Duration::ZERO {
            steps.push(ReplyStep::Pause(scenario.pace));
        }
        steps.push(ReplyStep::Write(chunk));
    }
    steps
}

fn accepts_gzip(request: &RecordedRequest) -> bool {
    request.headers_named("accept-encoding").any(|value| value.contains("gzip"))
}

fn gzipped(mut reply: Reply) -> Reply {
    let pack = |bytes: &Bytes| -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("compress into memory");
        encoder.finish().expect("compress into memory").into()
    };
    reply.body = match reply.body {
        Body::Whole(bytes) => Body::Whole(pack(&bytes)),
        Body::Steps(steps) => {
            let mut whole = Vec::new();
            for step in steps {
                if let ReplyStep::Write(bytes) = step {
                    whole.extend_from_slice(&bytes);
                }
            }
            Body::Steps(vec![ReplyStep::Write(pack(&whole.into()))])
        }
    };
    reply.with("content-encoding", "gzip").with("vary", "accept-encoding")
}
