//! A key and the requests that its owner sends.

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::{TestSystem, plain_client};
use crate::client_response::{ClientResponse, OpenResponse};

/// The default model of the tests.
pub const MODEL: &str = "claude-opus-5-5";

/// A message request with one user turn.
pub fn message(model: &str, text: &str, stream: bool) -> Value {
    json!({
        "model": model, "max_tokens": 1024, "stream": stream,
        "messages": [{"role": "user", "content": text}],
    })
}

/// A key that will be created.
#[must_use]
pub struct KeyPlan<'a> {
    system: &'a TestSystem,
    body: Value,
}

impl<'a> KeyPlan<'a> {
    pub(super) fn new(system: &'a TestSystem, name: &str) -> Self {
        Self { system, body: json!({"name": name}) }
    }

    /// Sets any field of the key.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.body[field] = value.into();
        self
    }

    /// Puts the key into a group.
    pub fn group(self, id: &str) -> Self {
        self.with("group_id", id)
    }

    /// Allows only these models.
    pub fn models(self, models: &[&str]) -> Self {
        self.with("models", models.to_vec())
    }

    /// Sets one limit.
    pub fn limit(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body["limits"][name] = value.into();
        self
    }

    /// Sets the daily money limit.
    pub fn limit_usd_daily(self, usd: &str) -> Self {
        self.limit("usd_daily", usd)
    }

    /// Creates the key.
    pub async fn create(self) -> TestKey {
        let body = self.system.admin().create_named("/keys", &self.body).await;
        let text = |name: &str| body[name].as_str().expect("a text field").to_owned();
        TestKey {
            id: text("id"),
            secret: text("secret"),
            base: self.system.relay_url(),
            http: plain_client(),
        }
    }
}

/// A key that exists, with its secret.
#[derive(Clone)]
pub struct TestKey {
    /// The id, `key_…`.
    pub id: String,
    /// The secret, `bt_…`.
    pub secret: String,
    base: String,
    http: Client,
}

impl TestKey {
    /// A key with this secret at a base URL.
    pub fn found(secret: &str, base: &str) -> Self {
        Self {
            id: String::new(),
            secret: secret.to_owned(),
            base: base.to_owned(),
            http: plain_client(),
        }
    }

    /// The same key at the current address of the system.
    #[must_use]
    pub fn at(&self, system: &TestSystem) -> Self {
        Self { base: system.relay_url(), ..self.clone() }
    }

    /// A request with the key in `x-api-key`.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        self.http
            .request(method, format!("{}{path}", self.base))
            .header("x-api-key", &self.secret)
            .header("anthropic-version", "2023-06-01")
    }

    /// A message request with this body.
    pub fn message(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request("POST", "/v1/messages").header("content-type", "application/json").body(body)
    }

    /// Requests a streamed answer and reads all of it.
    pub async fn ask(&self, text: &str) -> ClientResponse {
        self.ask_model(MODEL, text).await
    }

    /// The same for another model.
    pub async fn ask_model(&self, model: &str, text: &str) -> ClientResponse {
        ClientResponse::to(self.message(message(model, text, true).to_string())).await
    }

    /// Requests an answer that is not streamed.
    pub async fn ask_whole(&self, text: &str) -> ClientResponse {
        ClientResponse::to(self.message(message(MODEL, text, false).to_string())).await
    }

    /// Requests a streamed answer and reads nothing yet.
    pub async fn open(&self, text: &str) -> OpenResponse {
        OpenResponse::to(self.message(message(MODEL, text, true).to_string())).await
    }

    /// `GET` with the key.
    pub async fn get(&self, path: &str) -> ClientResponse {
        ClientResponse::to(self.request("GET", path)).await
    }
}
