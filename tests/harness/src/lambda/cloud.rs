//! Everything around the functions: stores, fake upstream, variables of the template.

use std::time::Duration;

use serde_json::{Value, json};

use super::{FunctionProcess, StoresProcess, StreamedResponse, event};
use crate::client_response::ClientResponse;
use crate::system::{ADMIN_TOKEN, MODEL, account_body, message};
use crate::upstream::FakeUpstream;

/// The secret for hashing keys and signing records.
pub const PEPPER: &str = "test-pepper-0123456789abcdef0123456789abcdef";

/// The name of the stack.
pub const STACK: &str = "test-stack";

/// The time until the deadline in tests that are not about it.
pub const WITHOUT_HURRY: Duration = Duration::from_mins(2);

/// A deployment without functions. Tests start the functions one by one, as the platform does.
pub struct LambdaDeployment {
    /// The upstream of the accounts.
    pub upstream: FakeUpstream,
    /// The tables, the queue and the key.
    pub stores: StoresProcess,
}

impl LambdaDeployment {
    /// Creates empty stores and an upstream.
    pub async fn open() -> Self {
        Self { upstream: FakeUpstream::start(), stores: StoresProcess::start().await }
    }

    /// The variables of every function, including those of the template.
    pub fn variables(&self) -> Vec<(String, String)> {
        let own = [
            ("BATON_ADMIN_TOKEN", ADMIN_TOKEN),
            ("BATON_KEY_PEPPER", PEPPER),
            ("BATON_ALLOW_PRIVATE_UPSTREAMS", "1"),
            ("BATON_LOG_FORMAT", "json"),
            ("BATON_STACK", STACK),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.stores.variables.iter().cloned().chain(own).collect()
    }

    /// Starts a function.
    pub async fn function(&self, name: &str) -> FunctionProcess {
        FunctionProcess::start(name, &self.variables()).await
    }

    /// Starts a function with another value for one variable.
    pub async fn function_with(&self, name: &str, variable: &str, value: &str) -> FunctionProcess {
        let mut variables = self.variables();
        variables.retain(|(known, _)| known != variable);
        variables.push((variable.to_owned(), value.to_owned()));
        FunctionProcess::start(name, &variables).await
    }

    /// Calls the admin function; `path` is below `/api/v1`.
    pub async fn operate(
        admin: &FunctionProcess,
        method: &str,
        path: &str,
        body: &Value,
    ) -> ClientResponse {
        let authorization = format!("Bearer {ADMIN_TOKEN}");
        let headers = [("authorization", authorization.as_str())];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let event = event::request(method, &format!("/api/v1{path}"), &headers, &body);
        admin.request(&event, WITHOUT_HURRY).await
    }

    /// Creates an account at the upstream and a key. Returns the secret of the key.
    pub async fn create_account_and_key(&self, admin: &FunctionProcess) -> String {
        self.create_key_with_account_at(admin, &self.upstream.url()).await
    }

    /// The same with an account at this base URL.
    pub async fn create_key_with_account_at(
        &self,
        admin: &FunctionProcess,
        base_url: &str,
    ) -> String {
        let account = account_body("main", base_url);
        Self::operate(admin, "POST", "/accounts", &account).await.status(201);
        let key = Self::operate(admin, "POST", "/keys", &json!({"name": "ci"})).await.status(201);
        key.json()["secret"].as_str().expect("a secret").to_owned()
    }

    /// Sends the relay a request for a streamed message.
    pub async fn ask(
        relay: &FunctionProcess,
        key: &str,
        text: &str,
        left: Duration,
    ) -> StreamedResponse {
        Self::ask_with(relay, &[("x-api-key", key)], text, left).await
    }

    /// The same with these headers.
    pub async fn ask_with(
        relay: &FunctionProcess,
        headers: &[(&str, &str)],
        text: &str,
        left: Duration,
    ) -> StreamedResponse {
        let body = message(MODEL, text, true).to_string();
        relay.stream(&event::request("POST", "/v1/messages", headers, &body), left).await
    }
}
