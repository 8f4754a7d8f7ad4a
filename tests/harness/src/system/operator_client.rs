//! The operator's side: the admin API with its token.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{Client, RequestBuilder};
use serde_json::Value;

use crate::client_response::ClientResponse;

/// A number that makes equal names distinct.
static SERIAL: AtomicUsize = AtomicUsize::new(2);

/// A client of the admin API.
#[derive(Clone)]
pub struct OperatorClient {
    http: Client,
    base: String,
    token: String,
}

impl OperatorClient {
    pub(super) fn new(http: Client, address: SocketAddr, token: &str) -> Self {
        Self { http, base: format!("http://{address}/api/v1"), token: token.to_owned() }
    }

    /// A client of the admin API at this address.
    pub fn at(address: SocketAddr, token: &str) -> Self {
        Self::new(super::plain_client(), address, token)
    }

    /// The same with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// A request with the token; `path` is below `/api/v1`.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.http.request(method, format!("{}{path}", self.base));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    /// A request outside of `/api/v1`, with the token in `x-api-key`, as clients of Anthropic's
    /// Admin API send it.
    pub fn request_at_root(&self, method: &str, path: &str) -> RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let base = self.base.trim_end_matches("/api/v1");
        self.http.request(method, format!("{base}{path}")).header("x-api-key", &self.token)
    }

    /// Sends `GET`.
    pub async fn get(&self, path: &str) -> ClientResponse {
        ClientResponse::to(self.request("GET", path)).await
    }

    /// Sends `POST` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> ClientResponse {
        self.send("POST", path, body).await
    }

    /// Sends `PATCH` with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> ClientResponse {
        self.send("PATCH", path, body).await
    }

    /// Sends `DELETE`.
    pub async fn delete(&self, path: &str) -> ClientResponse {
        ClientResponse::to(self.request("DELETE", path)).await
    }

    /// Sends any method with a JSON body.
    pub async fn send(&self, method: &str, path: &str, body: &Value) -> ClientResponse {
        let request = self.request(method, path).header("content-type", "application/json");
        ClientResponse::to(request.body(body.to_string())).await
    }

    /// Creates a resource. If its name is taken, a number is appended to it.
    pub async fn create_named(&self, path: &str, body: &Value) -> Value {
        let (mut body, name) = (body.clone(), body["name"].as_str().unwrap_or_default());
        let mut answer = self.post(path, &body).await;
        if answer.status == 409 {
            body["name"] = format!("{name} {}", SERIAL.fetch_add(1, Ordering::Relaxed)).into();
            answer = self.post(path, &body).await;
        }
        assert!(matches!(answer.status, 200 | 201), "POST {path}: {}", answer.text());
        answer.json()
    }

    /// Creates a resource and returns its id.
    pub async fn create(&self, path: &str, body: &Value) -> String {
        let made = self.create_named(path, body).await;
        made["id"].as_str().expect("an id").to_owned()
    }
}
