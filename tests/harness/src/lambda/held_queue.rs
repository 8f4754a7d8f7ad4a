//! A gate in front of the queue: each call waits there until the test releases it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use bytes::Bytes;
use reqwest::Client;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::StoresProcess;
use crate::system::plain_client;
use crate::upstream::ScriptGate;

/// An endpoint for SQS that forwards one call to the stores for each release of the gate.
pub struct HeldQueue {
    /// The gate at which the calls wait.
    pub gate: Arc<ScriptGate>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

#[derive(Clone)]
struct QueueGate {
    gate: Arc<ScriptGate>,
    http: Client,
    to: String,
}

impl HeldQueue {
    /// Starts a closed endpoint in front of these stores.
    pub async fn before(stores: &StoresProcess) -> Self {
        let gate = Arc::new(ScriptGate::new());
        let to = stores.variable("AWS_ENDPOINT_URL").to_owned();
        let way = QueueGate { gate: Arc::clone(&gate), http: plain_client(), to };
        let router = Router::new().fallback(pass_on).with_state(way);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("serve the held queue");
        });
        Self { gate, address, serving }
    }

    /// The value of `AWS_ENDPOINT_URL_SQS`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for HeldQueue {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass_on(State(way): State<QueueGate>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    way.gate.pass().await;
    let mut request = way.http.post(&way.to).body(body);
    for name in ["x-amz-target", "content-type"] {
        request = request.header(name, headers.get(name).expect("a call of the AWS SDK"));
    }
    let answer = request.send().await.expect("the stores answer");
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut response = Response::new(Body::from(answer.bytes().await.expect("a whole answer")));
    *response.status_mut() = status;
    if let Some(content_type) = headers.get("content-type") {
        response.headers_mut().insert("content-type", content_type.clone());
    }
    response
}
