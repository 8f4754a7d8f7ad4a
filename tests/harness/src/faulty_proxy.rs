//! A proxy in front of the relay with one fault, as real deployments have them.
//!
//! It runs on a separate thread, so a test can block while a program calls it.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, DATE, HOST, LOCATION, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;

use crate::system::plain_client;

/// A fault of the proxy.
#[derive(Clone, Copy, Debug)]
pub enum ProxyFault {
    /// No fault.
    None,
    /// It reads an answer to its end before it forwards it.
    Buffers,
    /// Its clock is off by this duration.
    Skewed(SignedDuration),
    /// It refuses bodies above this number of bytes, with its own message.
    Ceiling(usize),
    /// It redirects every request.
    Redirects,
    /// It removes `authorization`.
    EatsAuthorization,
    /// It answers with its own page.
    Page,
}

/// A running proxy; it stops when dropped.
pub struct FaultyProxy {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct FaultyProxyState {
    behind: String,
    fault: ProxyFault,
    http: reqwest::Client,
}

impl FaultyProxy {
    /// Starts a proxy in front of the base URL `behind`.
    pub fn before(behind: &str, fault: ProxyFault) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port for the front");
        listener.set_nonblocking(true).expect("a non-blocking listener");
        let address = listener.local_addr().expect("its address");
        let state = FaultyProxyState { behind: behind.to_owned(), fault, http: plain_client() };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime for the front");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("the listener");
                let router = Router::new().fallback(pass).with_state(state);
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread has already printed its panic.
            drop(thread.join());
        }
    }
}

async fn pass(State(state): State<FaultyProxyState>, request: Request) -> Response {
    let (mut head, body) = request.into_parts();
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced = announced.and_then(|length| length.parse().ok()).unwrap_or(0_usize);
    match state.fault {
        ProxyFault::Page => return page(StatusCode::OK),
        ProxyFault::Ceiling(most) if announced > most => {
            return page(StatusCode::PAYLOAD_TOO_LARGE);
        }
        ProxyFault::Redirects => {
            let mut moved = page(StatusCode::MOVED_PERMANENTLY);
            moved.headers_mut().insert(LOCATION, HeaderValue::from_static("https://elsewhere/"));
            return moved;
        }
        ProxyFault::EatsAuthorization => drop(head.headers.remove(AUTHORIZATION)),
        _ => {}
    }
    head.headers.remove(HOST);
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let outgoing = state.http.request(head.method, format!("{}{path}", state.behind));
    let body = reqwest::Body::wrap_stream(body.into_data_stream());
    let outgoing = if announced > 0 { outgoing.body(body) } else { outgoing };
    let answer =
        outgoing.headers(head.headers).send().await.expect("an answer of the server behind");
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != TRANSFER_ENCODING) {
        response = response.header(name, value);
    }
    if let ProxyFault::Skewed(by) = state.fault {
        response.headers_mut().expect("a good head").insert(DATE, date(by));
    }
    let body = match state.fault {
        ProxyFault::Buffers => Body::from(answer.bytes().await.expect("a whole answer")),
        _ => Body::from_stream(answer.bytes_stream()),
    };
    response.body(body).expect("a good answer")
}

fn page(status: StatusCode) -> Response {
    let body = Body::from("<html><h1>nginx</h1></html>");
    Response::builder().status(status).body(body).expect("a good answer")
}

fn date(off: SignedDuration) -> HeaderValue {
    #[expect(clippy::disallowed_methods, reason = "the clock that is off is the system's")]
    let at = Timestamp::now().checked_add(off).expect("a time");
    let text = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    HeaderValue::from_str(&text).expect("a date")
}
