//! An upstream that answers every request at once and keeps only the last one, so that large
//! requests need little memory here.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use baton_test_harness::system::{TestKey, TestSystem};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::bad_upstream::{listen, request};

/// The model of all answers.
const MODEL: &str = "claude-haiku-4-5";

/// A running upstream of this kind.
#[derive(Clone)]
pub(crate) struct PlainUpstream {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// The calls of a model so far.
#[derive(Default)]
struct Seen {
    count: usize,
    body: Vec<u8>,
}

impl PlainUpstream {
    /// Starts the upstream on a free port. It serves until the runtime ends.
    pub(crate) async fn start() -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let served = Arc::clone(&seen);
        let address = listen(move |stream| Self::serve(stream, Arc::clone(&served))).await;
        Self { address, seen }
    }

    /// The number of model calls so far.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// The body of the last model call.
    pub(crate) fn last_body(&self) -> Vec<u8> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).body.clone()
    }

    /// Creates an account of each kind at this upstream, each in a separate group, and a key for
    /// it.
    pub(crate) async fn keys(&self, system: &TestSystem) -> Vec<(&'static str, TestKey)> {
        let mut keys = Vec::new();
        let bedrock = "anthropic.claude-haiku-4-5-20251001-v1:0";
        for (kind, mut fields) in [
            ("anthropic", json!({})),
            ("chat", json!({"provider": "openai_compatible"})),
            ("responses", json!({"provider": "openai_compatible", "speaks_responses": true})),
            ("bedrock", json!({"provider": "bedrock", "model_map": {MODEL: bedrock}})),
        ] {
            let group = system.group(kind).await;
            fields["groups"] = json!([group]);
            system.account_with(kind, &format!("http://{}", self.address), fields).await;
            keys.push((kind, system.key(kind).group(&group).create().await));
        }
        keys
    }

    async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) -> std::io::Result<()> {
        while let Some((path, body)) = request(&mut stream).await? {
            let text = answer(&path).to_string();
            if !body.is_empty() {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                (seen.count, seen.body) = (seen.count + 1, body);
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                text.len()
            );
            stream.write_all((head + &text).as_bytes()).await?;
        }
        Ok(())
    }
}

/// A whole answer of the API that has this path.
fn answer(path: &str) -> Value {
    let path = path.split('?').next().unwrap_or_default();
    match path {
        "/v1/messages/count_tokens" => json!({"input_tokens": 5}),
        _ if path.ends_with("/count-tokens") => json!({"inputTokens": 5}),
        "/v1/chat/completions" => json!({
            "id": "c_1", "object": "chat.completion", "created": 1, "model": MODEL,
            "choices": [{
                "index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": "ok"},
            }],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
        }),
        "/v1/responses" => json!({
            "id": "resp_1", "object": "response", "status": "completed", "model": MODEL,
            "output": [{
                "id": "m", "type": "message", "role": "assistant",
                "content": [{"type": "output_text", "text": "ok", "annotations": []}],
            }],
            "usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7},
        }),
        "/v1/messages" => message(),
        _ if path.starts_with("/model/") => message(),
        _ => json!({"data": [{"id": MODEL, "type": "model"}], "has_more": false}),
    }
}

fn message() -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": MODEL,
        "content": [{"type": "text", "text": "ok"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": 2},
    })
}
