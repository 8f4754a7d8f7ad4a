//! The Runtime API on loopback. It gives one invocation at a time to the function that polls for it
//! (several on Managed Instances), and forwards the function's answer chunk by chunk.
//!
//! Paths, headers and the two forms of a response: AWS Lambda Developer Guide, "Using the Lambda
//! runtime API" and "Response streaming in custom runtimes" (November 2026).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as Turn, mpsc, watch};
use tokio::task::JoinHandle;

const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:baton-test";
const TRACE: &str = "Root=1-65f0c0de-000000000000000000000001;Parent=0000000000000001;Sampled=0";

/// A piece of a function's answer.
#[derive(Debug)]
pub(super) enum Part {
    /// The answer begins in this form.
    Begin { streaming: bool, content_type: String },
    /// Bytes of the body, as received.
    Chunk(Bytes),
    /// The body is complete.
    End,
    /// The connection broke inside the body.
    Torn,
    /// The function reported in the body's trailers that the body is incomplete; the type of the
    /// error.
    Broken { error_type: String },
    /// The function reported a failure with this message.
    Failed(String),
}

/// The parts of one answer, in order.
pub(super) type Parts = mpsc::UnboundedReceiver<Part>;

struct Invocation {
    id: String,
    event: String,
    left: Duration,
    parts: mpsc::UnboundedSender<Part>,
}

/// The platform's side of one function; it ends when dropped.
pub(super) struct RuntimeApi {
    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    invoke: mpsc::UnboundedSender<Invocation>,
    invoked: std::sync::atomic::AtomicUsize,
    serving: JoinHandle<()>,
}

struct Shared {
    waiting: Turn<mpsc::UnboundedReceiver<Invocation>>,
    /// The number of invocations that can be open at the same time.
    at_once: usize,
    /// The invocations that a function has received and not answered yet.
    open: Mutex<BTreeMap<String, mpsc::UnboundedSender<Part>>>,
    first_poll: watch::Sender<Option<Instant>>,
    /// The deadline that is given to the function in place of the real one.
    deadline: Mutex<Option<String>>,
}

impl RuntimeApi {
    /// Starts a Runtime API on a free port, for a function that accepts `at_once` invocations at
    /// the same time.
    pub(super) async fn start(at_once: usize) -> Self {
        let (invoke, waiting) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            waiting: Turn::new(waiting),
            at_once,
            open: Mutex::default(),
            first_poll: watch::Sender::new(None),
            deadline: Mutex::default(),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serve the Runtime API");
        });
        Self { address, shared, invoke, invoked: 0.into(), serving }
    }

    /// Waits until the function asks for work for the first time, and returns that time.
    pub(super) async fn first_poll(&self) -> Instant {
        let mut polled = self.shared.first_poll.subscribe();
        let at = polled.wait_for(Option::is_some).await.expect("the Runtime API serves");
        at.expect("it was waited for")
    }

    /// Sets the deadline of every invocation from now on.
    pub(super) fn set_deadline(&self, millis: &str) {
        *self.shared.deadline.lock().expect("a lock") = Some(millis.to_owned());
    }

    /// Invokes the function with an event and this time until its deadline.
    pub(super) fn invoke(&self, event: String, left: Duration) -> Parts {
        let serial = self.invoked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = format!("00000000-0000-4000-8000-{serial:012}");
        let (parts, answer) = mpsc::unbounded_channel();
        let invocation = Invocation { id, event, left, parts };
        self.invoke.send(invocation).expect("the Runtime API serves");
        answer
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, BTreeMap<String, mpsc::UnboundedSender<Part>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channel for the parts of this invocation's answer; `None` if the invocation is not open.
    fn parts_of(&self, id: &str) -> Option<mpsc::UnboundedSender<Part>> {
        self.open().get(id).cloned()
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response<Body> {
    shared.first_poll.send_if_modified(|at| at.replace(Instant::now()).is_none());
    let open = shared.open().len();
    if open >= shared.at_once {
        return refusal(StatusCode::FORBIDDEN, &format!("{open} are not answered yet"));
    }
    let Some(invocation) = shared.waiting.lock().await.recv().await else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "the test is over");
    };
    let fixed = shared.deadline.lock().expect("a lock").clone();
    let deadline = fixed.unwrap_or_else(|| deadline_millis(invocation.left).to_string());
    let answer = Response::builder()
        .header("content-type", "application/json")
        .header("lambda-runtime-aws-request-id", &invocation.id)
        .header("lambda-runtime-deadline-ms", deadline)
        .header("lambda-runtime-invoked-function-arn", ARN)
        .header("lambda-runtime-trace-id", TRACE)
        .body(Body::from(invocation.event))
        .expect("a response");
    shared.open().insert(invocation.id, invocation.parts);
    answer
}

#[expect(
    clippy::disallowed_methods,
    reason = "the platform's clock, from which the deadline is computed"
)]
fn deadline_millis(left: Duration) -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    (now + left).as_millis()
}

async fn response(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    mut body: Body,
) -> Response<Body> {
    let Some(parts) = shared.parts_of(&id) else {
        return refusal(StatusCode::BAD_REQUEST, &format!("{id} is not under way"));
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let streaming = text("lambda-runtime-function-response-mode") == Some("streaming");
    let content_type = text("content-type").unwrap_or_default().to_owned();
    // A test that has seen enough stops listening, and the function does not have to know that.
    let send = |part| drop(parts.send(part));
    send(Part::Begin { streaming, content_type });
    let mut broken = None;
    let end = loop {
        match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => send(Part::Chunk(bytes)),
                Err(frame) => broken = frame.into_trailers().ok().as_ref().and_then(error_type),
            },
            Some(Err(_)) => break Part::Torn,
            None => break broken.map_or(Part::End, |error_type| Part::Broken { error_type }),
        }
    };
    shared.open().remove(&id);
    send(end);
    accepted()
}

/// The error type in the trailers of a response, as the platform reads it.
fn error_type(trailers: &HeaderMap) -> Option<String> {
    let value = trailers.get("lambda-runtime-function-error-type")?;
    Some(value.to_str().expect("in plain text").to_owned())
}

async fn error(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    words: String,
) -> Response<Body> {
    let Some(parts) = shared.parts_of(&id) else {
        return refusal(StatusCode::BAD_REQUEST, &format!("{id} is not under way"));
    };
    shared.open().remove(&id);
    drop(parts.send(Part::Failed(words)));
    accepted()
}

/// The function also prints the reason of a failed start to its standard error.
async fn init_error() -> Response<Body> {
    accepted()
}

fn accepted() -> Response<Body> {
    let answer = Response::builder().status(StatusCode::ACCEPTED);
    answer.body(Body::from(r#"{"status":"OK"}"#)).expect("a response")
}

fn refusal(status: StatusCode, why: &str) -> Response<Body> {
    let words = serde_json::json!({"errorType": "InvalidStateTransition", "errorMessage": why});
    Response::builder().status(status).body(Body::from(words.to_string())).expect("a response")
}
