//! A test system: Baton, the fake upstream behind it, and the operator's token for its admin API.
//!
//! [`TestSystem::builder`] starts the real binary, so the tests check what is shipped. With
//! [`TestSystemBuilder::in_process`] it starts the libraries in this process, so that a test can move
//! the clock and see the calls to the stores.

mod binary;
mod builder;
mod in_process;
mod key;
mod operator_client;
mod process;
mod resources;
mod spend;
mod store_calls;
mod usage;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};

use crate::client_response::ClientResponse;
use crate::upstream::FakeUpstream;

pub use binary::{
    baton_binary, bench_binary, fake_upstream_binary, function_binary, target_folder,
};
pub use builder::{ADMIN_TOKEN, TestSystemBuilder};
pub use in_process::{InProcessBuilder, InProcessSystem, NOW, broken, daily, reservation};
pub use key::{KeyPlan, MODEL, TestKey, message};
pub use operator_client::OperatorClient;
pub use process::{BatonProcess, bare_command, free_address};
pub use resources::{account_body, stored_account, stored_group, stored_key, stored_user};
pub use spend::{TINY_USD, estimate, period, pico, scope, settled, spend, spent_key, usd};
pub use usage::{SOON, tokens};

/// The program with everything that it needs. Dropping it kills what it started.
pub struct TestSystem {
    /// The upstream of its first account.
    pub upstream: FakeUpstream,
    process: BatonProcess,
    http: Client,
    serial: AtomicUsize,
}

/// An HTTP client without proxies, redirects or decompression, so a test sees exactly what was
/// sent. A silence of one minute is an error, so a test that waits in vain fails.
pub fn plain_client() -> Client {
    Client::builder()
        .no_proxy()
        .read_timeout(Duration::from_mins(1))
        // Baton closes a connection that is silent for 30 s, and a test that waits for a program
        // does not notice that.
        .pool_idle_timeout(Duration::from_secs(10))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("an HTTP client")
}

impl TestSystem {
    /// A builder of a system without any account.
    pub fn builder() -> TestSystemBuilder {
        TestSystemBuilder::new()
    }

    /// Starts Baton with one account, `main`, in the default group.
    pub async fn open() -> Self {
        Self::builder().with_account("main").start().await
    }

    /// Starts Baton without any account.
    pub async fn empty() -> Self {
        Self::builder().start().await
    }

    fn over(process: BatonProcess) -> Self {
        let (upstream, http) = (FakeUpstream::start(), plain_client());
        Self { upstream, process, http, serial: AtomicUsize::new(1) }
    }

    /// The base URL that clients use.
    pub fn relay_url(&self) -> String {
        format!("http://{}", self.process.relay)
    }

    /// The address of the admin API and the console.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.process.admin)
    }

    /// The admin token.
    pub fn admin_token(&self) -> &str {
        &self.process.admin_token
    }

    /// The child process.
    pub fn process(&mut self) -> &mut BatonProcess {
        &mut self.process
    }

    /// The id of Baton's process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// A request on the data plane without a key.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        self.http.request(method, format!("{}{path}", self.relay_url()))
    }

    /// A client of the admin API for the operator.
    pub fn admin(&self) -> OperatorClient {
        let BatonProcess { admin, admin_token, .. } = &self.process;
        OperatorClient::new(self.http.clone(), *admin, admin_token)
    }

    /// Creates an account with a static key in the default group. Returns its id.
    pub async fn account(&self, name: &str, base_url: &str) -> String {
        self.account_with(name, base_url, json!({})).await
    }

    /// Creates an account with further fields. Returns its id.
    pub async fn account_with(&self, name: &str, base_url: &str, fields: Value) -> String {
        let mut body = account_body(name, base_url);
        merge(&mut body, fields);
        let made = self.admin().create_named("/accounts", &body).await;
        made["id"].as_str().expect("an id").to_owned()
    }

    /// Creates a group. Returns its id.
    pub async fn group(&self, name: &str) -> String {
        let made = self.admin().create_named("/groups", &json!({"name": name})).await;
        made["id"].as_str().expect("an id").to_owned()
    }

    /// Prepares a key; see [`KeyPlan`].
    pub fn key(&self, name: &str) -> KeyPlan<'_> {
        KeyPlan::new(self, name)
    }

    /// Creates a key in a separate group whose only account uses this upstream. Failures of that
    /// account do not affect other keys.
    pub async fn private_key(&self, base_url: &str) -> TestKey {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let name = format!("private-{serial}");
        let group = self.group(&name).await;
        self.account_with(&name, base_url, json!({"groups": [group]})).await;
        self.key(&name).group(&group).create().await
    }

    /// Ends Baton with SIGKILL and starts it again with the same data.
    pub async fn crash_and_return(&mut self) {
        let again = self.process().again();
        self.process().kill();
        self.started_again(&again).await;
    }

    /// Ends Baton with SIGTERM and starts it again with the same data.
    pub async fn restart(&mut self) {
        let again = self.process().again();
        self.process().terminate();
        self.process().ended();
        self.started_again(&again).await;
    }

    /// Starts Baton again after it has ended.
    pub async fn started_again(&mut self, builder: &TestSystemBuilder) {
        self.process = builder.start_process().await;
    }

    /// Sends `GET` on the data plane without a key.
    pub async fn get(&self, path: &str) -> ClientResponse {
        ClientResponse::to(self.request("GET", path)).await
    }
}

fn merge(body: &mut Value, fields: Value) {
    if let Value::Object(fields) = fields {
        for (name, value) in fields {
            body[name] = value;
        }
    }
}
