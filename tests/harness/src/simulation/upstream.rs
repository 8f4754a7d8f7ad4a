//! The upstream inside the process: it follows the plan and keeps a ledger of what it served.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use baton_domain::usage::TokenCounts;
use baton_runtime::upstream::{Transport, UpstreamBody, UpstreamCallError};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{Request, Response, StatusCode};
use serde_json::json;
use tokio::time::sleep;

use super::instance_life::InstanceLife;
use super::plan::{PlannedRequest, ServedUsage, UpstreamBehavior};

/// The model of all requests.
pub(crate) const MODEL: &str = "claude-opus-5-5";

/// One call that reached the upstream.
#[derive(Debug, Clone)]
pub struct ServedCall {
    /// The request, by its client's number.
    pub ask: usize,
    /// The billed tokens, if the whole answer was delivered.
    pub whole: Option<TokenCounts>,
}

/// The ledger of the upstream.
#[derive(Clone, Default)]
pub(crate) struct CallLedger(Arc<Mutex<Vec<ServedCall>>>);

impl CallLedger {
    pub(crate) fn calls(&self) -> Vec<ServedCall> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn begin(&self, ask: usize) -> (usize, usize) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = calls.iter().filter(|call| call.ask == ask).count();
        calls.push(ServedCall { ask, whole: None });
        (calls.len() - 1, attempt)
    }

    fn finish(&self, call: usize, tokens: TokenCounts) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[call].whole = Some(tokens);
    }
}

/// The connection of an instance to the upstream. It ends with the instance.
pub(crate) struct UpstreamLink {
    pub(crate) ledger: CallLedger,
    pub(crate) requests: Arc<Vec<PlannedRequest>>,
    pub(crate) life: InstanceLife,
}

impl Transport for UpstreamLink {
    fn answer(
        &self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<UpstreamBody>, UpstreamCallError>> + Send + '_>>
    {
        Box::pin(async move {
            if !self.life.step() {
                return std::future::pending().await;
            }
            let number = request.headers().get("x-claude-code-session-id");
            let number = number.and_then(|value| value.to_str().ok()?.strip_prefix("sim-"));
            let number = number.and_then(|digits| digits.parse().ok()).expect("a numbered request");
            self.serve(number).await
        })
    }
}

impl UpstreamLink {
    async fn serve(&self, number: usize) -> Result<Response<UpstreamBody>, UpstreamCallError> {
        let planned = &self.requests[number];
        let (call, attempt) = self.ledger.begin(number);
        let behavior =
            planned.upstream_behaviors[attempt.min(planned.upstream_behaviors.len() - 1)];
        sleep(planned.served.pace).await;
        match behavior {
            UpstreamBehavior::Refuse => {
                return Err(UpstreamCallError::Unreachable("refused".to_owned()));
            }
            UpstreamBehavior::Hang => return std::future::pending().await,
            UpstreamBehavior::Status(status) => return Ok(error(status)),
            UpstreamBehavior::ErrorFirst if planned.stream => {
                let text = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\
                            \"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
                return Ok(answer("text/event-stream", UpstreamBody::from(text)));
            }
            UpstreamBehavior::ErrorFirst => return Ok(error(529)),
            UpstreamBehavior::Whole | UpstreamBehavior::CutAt(_) | UpstreamBehavior::StallAt(_) => {
            }
        }
        let (kind, text) = if planned.stream {
            ("text/event-stream", events(number, planned.served))
        } else {
            ("application/json", message(number, planned.served).to_string())
        };
        let place = |thousandth| text.len() * thousandth / 1000;
        let (upto, end) = match behavior {
            UpstreamBehavior::CutAt(thousandth) => (place(thousandth), BodyEnd::Cut),
            UpstreamBehavior::StallAt(thousandth) => (place(thousandth), BodyEnd::Stall),
            _ => (text.len(), BodyEnd::Whole(self.ledger.clone(), call, tokens(planned.served))),
        };
        let bytes = Bytes::from(text).slice(..upto);
        let pour =
            BodyStream { bytes, end: Some(end), served: planned.served, life: self.life.clone() };
        Ok(answer(kind, UpstreamBody::wrap_stream(poured(pour).fuse())))
    }
}

/// How a body ends.
enum BodyEnd {
    Whole(CallLedger, usize, TokenCounts),
    Cut,
    Stall,
}

struct BodyStream {
    bytes: Bytes,
    end: Option<BodyEnd>,
    served: ServedUsage,
    life: InstanceLife,
}

fn poured(pour: BodyStream) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
    stream::unfold(pour, |mut pour| async {
        if !pour.bytes.is_empty() {
            sleep(pour.served.pace).await;
            if !pour.life.step() {
                return std::future::pending().await;
            }
            let chunk = pour.bytes.split_to(pour.served.chunk.min(pour.bytes.len()));
            if let (true, Some(BodyEnd::Whole(ledger, call, tokens))) =
                (pour.bytes.is_empty(), &pour.end)
            {
                ledger.finish(*call, *tokens);
            }
            return Some((Ok(chunk), pour));
        }
        match pour.end.take()? {
            BodyEnd::Whole(..) => None,
            BodyEnd::Cut => Some((Err(std::io::Error::other("the connection broke")), pour)),
            BodyEnd::Stall => std::future::pending().await,
        }
    })
}

fn answer(kind: &'static str, body: UpstreamBody) -> Response<UpstreamBody> {
    Response::builder().header("content-type", kind).body(body).expect("an answer")
}

fn error(status: u16) -> Response<UpstreamBody> {
    let kind = match status {
        400 => "invalid_request_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let body = json!({ "type": "error", "error": { "type": kind, "message": "simulated" } });
    let mut answer = answer("application/json", UpstreamBody::from(body.to_string()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    if status == 429 {
        answer.headers_mut().insert("retry-after", http::HeaderValue::from_static("2"));
    }
    answer
}

fn tokens(served: ServedUsage) -> TokenCounts {
    TokenCounts {
        input: served.input,
        output: served.output,
        cache_read: served.cache_read,
        cache_write_5m: served.cache_write,
        cache_write_1h: 0,
    }
}

fn usage(served: ServedUsage, output: u64) -> serde_json::Value {
    json!({
        "input_tokens": served.input, "output_tokens": output,
        "cache_read_input_tokens": served.cache_read,
        "cache_creation_input_tokens": served.cache_write,
        "cache_creation": {
            "ephemeral_5m_input_tokens": served.cache_write, "ephemeral_1h_input_tokens": 0,
        },
    })
}

fn message(number: usize, served: ServedUsage) -> serde_json::Value {
    json!({
        "id": format!("msg_{number}"), "type": "message", "role": "assistant", "model": MODEL,
        "content": [{ "type": "text", "text": "simulated" }], "stop_reason": "end_turn",
        "usage": usage(served, served.output),
    })
}

fn events(number: usize, served: ServedUsage) -> String {
    let mut begin = message(number, served);
    begin["content"] = json!([]);
    begin["stop_reason"] = json!(null);
    begin["usage"] = usage(served, 1);
    let delta = json!({ "type": "content_block_delta", "index": 0,
        "delta": { "type": "text_delta", "text": "word " } });
    let done = json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" },
        "usage": { "output_tokens": served.output } });
    let mut text = String::new();
    let mut event = |value: &serde_json::Value| {
        let name = value["type"].as_str().unwrap_or_default().to_owned();
        text += &["event: ", &name, "\ndata: ", &value.to_string(), "\n\n"].concat();
    };
    event(&json!({ "type": "message_start", "message": begin }));
    event(&json!({ "type": "content_block_start", "index": 0,
        "content_block": { "type": "text", "text": "" } }));
    for _ in 0..served.output % 8 {
        event(&delta);
    }
    event(&json!({ "type": "content_block_stop", "index": 0 }));
    event(&done);
    event(&json!({ "type": "message_stop" }));
    text
}
