//! AWS Secrets Manager as far as Baton uses it: `GetSecretValue` by stage, over HTTP on loopback.
//!
//! Form: AWS Secrets Manager API Reference, `GetSecretValue` (November 2026).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The secrets of an AWS account; dropped with the runtime of the test.
#[derive(Clone)]
pub struct FakeSecretsManager {
    /// The endpoint.
    pub url: String,
    shared: Arc<Mutex<Secrets>>,
}

#[derive(Default)]
struct Secrets {
    values: BTreeMap<String, Vec<String>>,
    is_down: bool,
    calls: usize,
}

impl FakeSecretsManager {
    /// Starts a server without secrets.
    pub async fn start() -> Self {
        let shared = Arc::<Mutex<Secrets>>::default();
        let router = Router::new().route("/", post(answer)).with_state(Arc::clone(&shared));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// Sets a new value of a secret. The value before it becomes the previous one.
    pub fn put(&self, id: &str, value: &str) {
        locked(&self.shared).values.entry(id.to_owned()).or_default().push(value.to_owned());
    }

    /// Sets whether the server fails from now on.
    pub fn fail(&self, is_down: bool) {
        locked(&self.shared).is_down = is_down;
    }

    /// The number of calls.
    pub fn calls(&self) -> usize {
        locked(&self.shared).calls
    }
}

fn locked(shared: &Mutex<Secrets>) -> MutexGuard<'_, Secrets> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(
    State(shared): State<Arc<Mutex<Secrets>>>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    let mut secrets = locked(&shared);
    secrets.calls += 1;
    assert_eq!(headers["x-amz-target"], "secretsmanager.GetSecretValue");
    assert!(headers.contains_key("authorization"), "it is signed");
    if secrets.is_down {
        let error = json!({"__type": "InternalServiceError", "message": "it is down"});
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    }
    let request: Value = serde_json::from_str(&body).expect("JSON");
    let id = request["SecretId"].as_str().expect("an id");
    let back = usize::from(request["VersionStage"] == "AWSPREVIOUS");
    let value = secrets.values.get(id).and_then(|values| values.iter().rev().nth(back));
    if let Some(value) = value {
        return (StatusCode::OK, json!({"ARN": id, "SecretString": value}).to_string());
    }
    let error = json!({"__type": "ResourceNotFoundException", "message": "no such secret"});
    (StatusCode::BAD_REQUEST, error.to_string())
}
