//! The server of a twin: it reads a request, lets the rules judge it, answers, and keeps a ledger.

use crate::Vendor;
use crate::answer::AnswerBody;
use crate::request::{VendorError, VendorRequest};
use crate::state::TwinState;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// The most bytes of a body.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One request to a twin, and what it answered.
#[derive(Debug, Clone)]
pub struct LedgerEntry {
    /// The method.
    pub method: String,
    /// The request.
    pub request: VendorRequest,
    /// The body as it came.
    pub raw_body: Bytes,
    /// The status of the answer.
    pub status: u16,
    /// The vendor's words if it refused the request.
    pub refusal: Option<String>,
    /// The usage of the answer, in the vendor's form.
    pub usage: Value,
}

#[derive(Debug)]
struct Shared {
    vendor: Vendor,
    state: Mutex<TwinState>,
    ledger: Mutex<Vec<LedgerEntry>>,
    /// Failures for the next requests, whatever they contain.
    failures: Mutex<VecDeque<VendorError>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running twin; it stops when dropped. It has a thread and a runtime of its own, so that a blocking
/// test does not stop it.
#[derive(Debug)]
pub struct Twin {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Twin {
    /// Starts a twin on a free port. It accepts connections when this function returns.
    pub fn start(vendor: Vendor) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind the twin");
        listener.set_nonblocking(true).expect("a non-blocking listener");
        let address = listener.local_addr().expect("the twin's address");
        let shared = Arc::new(Shared {
            vendor,
            state: Mutex::default(),
            ledger: Mutex::default(),
            failures: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime for the twin");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let limit = DefaultBodyLimit::max(BODY_BYTES_MAX);
                let router = Router::new().fallback(handle).layer(limit).with_state(serving);
                tokio::select! {
                    served = async { axum::serve(listener, router).await } => served.expect("serve"),
                    _ = stopped => {}
                }
            });
        });
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Its base URL, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The vendor.
    pub fn vendor(&self) -> Vendor {
        self.shared.vendor
    }

    /// All requests so far, oldest first.
    pub fn ledger(&self) -> Vec<LedgerEntry> {
        lock(&self.shared.ledger).clone()
    }

    /// The requests that the vendor refused. A test of translation expects none.
    pub fn refusals(&self) -> Vec<LedgerEntry> {
        self.ledger().into_iter().filter(|entry| entry.refusal.is_some()).collect()
    }

    /// Answers the next request with this error, whatever it contains.
    pub fn fail_next(&self, status: u16, body: Value) {
        lock(&self.shared.failures).push_back(VendorError { status, headers: Vec::new(), body });
    }

    /// Accepts this signature or encrypted content, which a recorded request has.
    pub fn accept_seal(&self, seal: &str) {
        lock(&self.shared.state).known_seals.insert(seal.to_owned());
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread has already printed its panic.
            drop(thread.join());
        }
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let raw_body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    let path = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let headers = head.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let body = serde_json::from_slice(&raw_body).unwrap_or(Value::Null);
    let request = VendorRequest { path, headers: headers.collect(), body };
    let method = head.method.to_string();
    let judged = judge(&shared, &method, &request);
    let (status, refusal, usage, response) = match judged {
        Ok((usage, response)) => (200, None, usage, response),
        Err(error) => (error.status, Some(error.message()), Value::Null, error_response(&error)),
    };
    let entry = LedgerEntry { method, request, raw_body, status, refusal, usage };
    lock(&shared.ledger).push(entry);
    response
}

fn judge(
    shared: &Shared,
    method: &str,
    request: &VendorRequest,
) -> Result<(Value, Response), VendorError> {
    if let Some(failure) = lock(&shared.failures).pop_front() {
        return Err(failure);
    }
    if method != "POST" {
        return models(shared.vendor, request).map(|list| {
            (Value::Null, response(200, "application/json", Body::from(list.to_string())))
        });
    }
    let mut state = lock(&shared.state);
    let accepted = shared.vendor.judge(request, &state)?;
    let answer = shared.vendor.answer(&accepted, &mut state);
    let body = match answer.body {
        AnswerBody::Whole(value) => Body::from(value.to_string()),
        AnswerBody::Events(events) => {
            Body::from_stream(stream::iter(events.into_iter().map(Ok::<_, Infallible>)))
        }
    };
    Ok((answer.usage, response(200, answer.content_type, body)))
}

/// A list of models, by which credentials are checked.
fn models(vendor: Vendor, request: &VendorRequest) -> Result<Value, VendorError> {
    if !request.route().ends_with("/models") {
        return Err(VendorError::new(404, json!({"error": {"message": "Not Found"}})));
    }
    let id = match vendor {
        Vendor::Anthropic | Vendor::Bedrock => {
            return Ok(json!({
                "data": [{"type": "model", "id": "claude-opus-5-5", "display_name": "Opus",
                          "created_at": "2026-01-01T00:00:00Z"}],
                "has_more": false, "first_id": "claude-opus-5-5", "last_id": "claude-opus-5-5",
            }));
        }
        Vendor::Openai => "gpt-5.5",
        Vendor::Gemini => "models/gemini-3-pro",
        Vendor::DeepSeek => "deepseek-v4-pro",
        Vendor::Mistral => "mistral-large-latest",
        Vendor::Qwen => "qwen3.8-27b",
    };
    Ok(
        json!({"object": "list", "data": [{"id": id, "object": "model", "created": 1, "owned_by": "twin"}]}),
    )
}

fn error_response(error: &VendorError) -> Response {
    let mut response =
        response(error.status, "application/json", Body::from(error.body.to_string()));
    for (name, value) in &error.headers {
        let value = http::HeaderValue::try_from(value.as_str()).expect("a header's value");
        response.headers_mut().insert(*name, value);
    }
    response
}

fn response(status: u16, content_type: &'static str, body: Body) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(body)
        .expect("a response")
}
