//! The same upstream in the form of Amazon Bedrock: other paths and bodies, signatures, binary
//! frames, exceptions. The content is the one of [`super::routes`] for the Messages API.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::reply::{Body, Reply, ReplyStep};
use super::serve::Shared;
use super::signature::check_signature;
use super::{RecordedRequest, ServedTokens, routes};

/// The accepted Bedrock API key.
pub const API_KEY: &str = "bedrock-api-key-of-a-test";

/// Frames are written in pieces of this size, so no piece is exactly one event.
const PIECE: usize = 100;

const BETAS: [&str; 3] =
    ["interleaved-thinking-2025-05-14", "context-1m-2025-08-07", "tool-search-tool-2025-10-19"];

const FIELDS: [&str; 12] = [
    "anthropic_version",
    "anthropic_beta",
    "max_tokens",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "metadata",
    "thinking",
    "temperature",
    "output_config",
    "context_management",
];

/// The answer to a request under `/model/`.
pub(super) fn answer(shared: &Shared, request: &RecordedRequest, serial: u64) -> Reply {
    let refused = |status, exception: &str, message: &str| {
        Reply::json(status, &json!({"message": message}))
            .with("x-amzn-errortype", format!("{exception}:http://internal.amazon.com/"))
    };
    let reply = match authorized(request) {
        Err(why) => refused(403, "UnrecognizedClientException", &why),
        Ok(()) => act(shared, request, serial)
            .unwrap_or_else(|why| refused(400, "ValidationException", &why)),
    };
    reply.with("x-amzn-requestid", format!("amzn-{serial:06}"))
}

/// The answer to a request of the Messages API, which Bedrock supports too.
pub(super) fn natively(shared: &Shared, request: &RecordedRequest, serial: u64) -> Reply {
    match authorized(request) {
        Ok(()) => routes::message(shared, request, serial),
        Err(why) => Reply::error(403, "permission_error", &why),
    }
}

fn authorized(request: &RecordedRequest) -> Result<(), String> {
    match request.header("authorization") {
        Some(value) if value == format!("Bearer {API_KEY}") => Ok(()),
        Some(_) => check_signature(request),
        None => Err("Missing Authentication Token".to_owned()),
    }
}

fn act(shared: &Shared, request: &RecordedRequest, serial: u64) -> Result<Reply, String> {
    let rest = request.path().strip_prefix("/model/").unwrap_or_default();
    let (model, action) = rest.split_once('/').ok_or("no action")?;
    let model = model.replace("%3A", ":").replace("%2F", "/");
    if !model.contains("anthropic.") {
        return Err("The provided model identifier is invalid.".to_owned());
    }
    match action {
        "count-tokens" if model.starts_with("anthropic.") => {
            let inner = request.json()["input"]["invokeModel"]["body"].clone();
            let inner = BASE64_STANDARD.decode(inner.as_str().unwrap_or_default());
            let inner = inner.map_err(|error| error.to_string())?;
            let body: Value = serde_json::from_slice(&inner).map_err(|error| error.to_string())?;
            check_body(&body)?;
            shared.update_ledger(|ledger| ledger.count_tokens += 1);
            Ok(Reply::json(200, &json!({"inputTokens": ServedTokens::of_body(&inner).input})))
        }
        "count-tokens" => Err("The provided model doesn't support counting tokens.".to_owned()),
        "invoke" | "invoke-with-response-stream" => {
            let mut body = request.json();
            let name = baton_domain::model::anthropic_id(&model);
            check_body(&body)
                .inspect_err(|_| shared.update_ledger(|ledger| ledger.row(name).errors += 1))?;
            body["model"] = name.into();
            body["stream"] = (action != "invoke").into();
            let converted = RecordedRequest { body: body.to_string().into(), ..request.clone() };
            Ok(turned(routes::message(shared, &converted, serial)))
        }
        _ => Err(format!("unknown action {action}")),
    }
}

fn check_body(body: &Value) -> Result<(), String> {
    if body["anthropic_version"] != "bedrock-2023-05-31" {
        return Err("anthropic_version: Field required".to_owned());
    }
    if !body["max_tokens"].is_u64() {
        return Err("max_tokens: Field required".to_owned());
    }
    let betas = body["anthropic_beta"].as_array().cloned().unwrap_or_default();
    if betas.iter().any(|beta| !BETAS.iter().any(|known| beta == known)) {
        return Err("The model returned the following errors: invalid beta flag".to_owned());
    }
    let fields = body.as_object().ok_or("not an object")?;
    match fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        Some(name) => Err(format!("{name}: Extra inputs are not permitted")),
        None => Ok(()),
    }
}

/// Converts a Messages answer to Bedrock's form.
fn turned(mut reply: Reply) -> Reply {
    if reply.status != 200 {
        return error(&reply);
    }
    if let Body::Steps(steps) = reply.body {
        reply.headers = vec![("content-type".into(), "application/vnd.amazon.eventstream".into())];
        reply.body = Body::Steps(framed(steps));
    }
    reply
}

fn error(reply: &Reply) -> Reply {
    let Body::Whole(body) = &reply.body else { panic!("an error is whole") };
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let exception = match reply.status {
        400 => "ValidationException",
        403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 => "ModelTimeoutException",
        424 => "ModelErrorException",
        429 => "ThrottlingException",
        503 => "ServiceUnavailableException",
        _ => "InternalServerException",
    };
    Reply::json(reply.status, &json!({"message": said["error"]["message"]}))
        .with("x-amzn-errortype", exception)
}

/// Turns complete events into frames, however the chunks were cut. Bedrock sends no keep-alive.
fn framed(steps: Vec<ReplyStep>) -> Vec<ReplyStep> {
    let (mut framed, mut held) = (Vec::new(), String::new());
    for step in steps {
        let ReplyStep::Write(bytes) = step else {
            framed.push(step);
            continue;
        };
        held.push_str(std::str::from_utf8(&bytes).expect("chunks of whole characters"));
        while let Some((event, rest)) = held.split_once("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            let frame = data.and_then(frame).unwrap_or_default();
            held = rest.to_owned();
            framed.extend(
                frame.chunks(PIECE).map(|piece| ReplyStep::Write(Bytes::copy_from_slice(piece))),
            );
        }
    }
    framed
}

fn frame(data: &str) -> Option<Vec<u8>> {
    let mut event: Value = serde_json::from_str(data).expect("an event of JSON");
    let message = match event["type"].as_str().unwrap_or_default() {
        "ping" => return None,
        "error" => {
            let exception = match event["error"]["type"].as_str().unwrap_or_default() {
                "overloaded_error" => "serviceUnavailableException",
                "rate_limit_error" => "throttlingException",
                "invalid_request_error" => "validationException",
                _ => "internalServerException",
            };
            let said = json!({"message": event["error"]["message"]}).to_string();
            Message::new(said)
                .add_header(header(":exception-type", exception))
                .add_header(header(":message-type", "exception"))
        }
        kind => {
            if kind == "message_stop" {
                event["amazon-bedrock-invocationMetrics"] = json!({"inputTokenCount": 1});
            }
            let bytes = BASE64_STANDARD.encode(event.to_string());
            Message::new(json!({"bytes": bytes, "p": "abcdefgh"}).to_string())
                .add_header(header(":event-type", "chunk"))
                .add_header(header(":message-type", "event"))
        }
    };
    let message = message.add_header(header(":content-type", "application/json"));
    let mut frame = Vec::new();
    write_message_to(&message, &mut frame).expect("a frame");
    Some(frame)
}

fn header(name: &'static str, value: &str) -> Header {
    Header::new(name, HeaderValue::String(value.to_owned().into()))
}
