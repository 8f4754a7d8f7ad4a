//! A token endpoint that records its requests. It rotates refresh tokens, revokes the whole family
//! when a token is used twice, and simulates the faults that a test wants.
//!
//! It runs on a separate thread, so a test can block while a program calls it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// A fault of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointFault {
    /// It is unavailable; no token is used up.
    Unavailable,
    /// It accepts the grant, and its answer is lost.
    LosesTheAnswer,
    /// It does not accept the grant any more.
    Refuses,
}

/// What it has received and issued.
#[derive(Default)]
struct EndpointLog {
    faults: VecDeque<EndpointFault>,
    /// How often each refresh token or code was used.
    used: BTreeMap<String, u32>,
    revoked: bool,
    issued: u32,
    under_way: u32,
    most_under_way: u32,
    last: Value,
}

/// A running endpoint; it stops when dropped.
pub struct FakeTokenEndpoint {
    address: SocketAddr,
    books: Arc<Mutex<EndpointLog>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The lifetime of its tokens.
pub const LIFE_SECONDS: i64 = 3600;

impl FakeTokenEndpoint {
    /// Starts an endpoint. The first refresh token of its family is `rt-0`.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port for the endpoint");
        listener.set_nonblocking(true).expect("a non-blocking listener");
        let address = listener.local_addr().expect("its address");
        let books = Arc::<Mutex<EndpointLog>>::default();
        let kept = Arc::clone(&books);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime for the endpoint").block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("the listener");
                let router = Router::new().fallback(answer).with_state(kept);
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, books, stop: Some(stop), thread: Some(thread) }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// Applies this fault to the next request.
    pub fn next(&self, fault: EndpointFault) {
        lock(&self.books).faults.push_back(fault);
    }

    /// Removes the fault.
    pub fn recovers(&self) {
        lock(&self.books).faults.clear();
    }

    /// The number of tokens that it has issued.
    pub fn issued(&self) -> u32 {
        lock(&self.books).issued
    }

    /// How often the most used refresh token was used.
    pub fn most_used(&self) -> u32 {
        lock(&self.books).used.values().copied().max().unwrap_or_default()
    }

    /// The highest number of requests at the same time.
    pub fn most_at_once(&self) -> u32 {
        lock(&self.books).most_under_way
    }

    /// The fields of the last request, with its `authorization`.
    pub fn last(&self) -> Value {
        lock(&self.books).last.clone()
    }
}

impl Drop for FakeTokenEndpoint {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread has already printed its panic.
            drop(thread.join());
        }
    }
}

fn lock(books: &Mutex<EndpointLog>) -> MutexGuard<'_, EndpointLog> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(
    State(books): State<Arc<Mutex<EndpointLog>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    {
        let mut books = lock(&books);
        books.under_way += 1;
        books.most_under_way = books.most_under_way.max(books.under_way);
    }
    // Gives requests that are on the way a chance to arrive.
    tokio::task::yield_now().await;
    let mut books = lock(&books);
    books.under_way -= 1;
    let mut fields = fields(&body);
    if let Some(value) = headers.get("authorization") {
        fields["authorization"] = json!(value.to_str().expect("text"));
    }
    books.last.clone_from(&fields);
    let fault = books.faults.pop_front();
    match fault {
        Some(EndpointFault::Unavailable) => {
            return json_response(503, &json!({"error": "temporarily_unavailable"}));
        }
        Some(EndpointFault::Refuses) => {
            return json_response(400, &json!({"error": "invalid_grant"}));
        }
        Some(EndpointFault::LosesTheAnswer) | None => {}
    }
    let answer = books.issue(&fields);
    if fault == Some(EndpointFault::LosesTheAnswer) {
        let broken = futures_util::stream::iter([
            Ok(Bytes::from_static(b"{\"access")),
            Err(std::io::Error::other("gone")),
        ]);
        return Response::new(Body::from_stream(broken));
    }
    match answer {
        Ok(token) => json_response(200, &token),
        Err(code) => json_response(400, &json!({"error": code})),
    }
}

impl EndpointLog {
    fn issue(&mut self, fields: &Value) -> Result<Value, &'static str> {
        let grant = fields["grant_type"].as_str().unwrap_or_default();
        let once = match grant {
            "refresh_token" => fields["refresh_token"].as_str(),
            "authorization_code" => fields["code"].as_str(),
            "client_credentials" | "urn:ietf:params:oauth:grant-type:jwt-bearer" => None,
            _ => return Err("unsupported_grant_type"),
        };
        if let Some(once) = once {
            let used = self.used.entry(once.to_owned()).or_default();
            *used += 1;
            self.revoked = self.revoked || *used > 1;
            if self.revoked || once.is_empty() {
                return Err("invalid_grant");
            }
        }
        self.issued += 1;
        let number = self.issued;
        let mut token = json!({
            "access_token": format!("at-{number}"), "token_type": "Bearer", "expires_in": LIFE_SECONDS,
        });
        if once.is_some() {
            token["refresh_token"] = json!(format!("rt-{number}"));
        }
        Ok(token)
    }
}

/// The fields of a request, from a form or from JSON.
fn fields(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| {
        let pairs = form_urlencoded::parse(body);
        pairs
            .map(|(name, value)| (name.into_owned(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    })
}

fn json_response(status: u16, body: &Value) -> Response {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Body::from(body.to_string())).expect("a good answer")
}
