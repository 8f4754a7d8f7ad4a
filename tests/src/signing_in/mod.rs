//! Sign-in to the console: the admin API and console on a separate port with a stopped clock, an
//! identity provider ([`FakeProvider`]), and a browser without scripts ([`TestBrowser`]).

mod provider;
mod signature;
mod test_browser;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use baton_domain::secret::Secret;
use baton_local::LocalAws;
use baton_runtime::aws::AwsClients;
use baton_runtime::clock::Clock;
use baton_runtime::random::RandomSource;
use baton_runtime::settings::Settings;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use provider::FakeProvider;
pub use signature::TokenForgery;
pub use test_browser::{BrowserPage, TestBrowser};

use crate::house::OperatorClient;
use crate::injected_faults::WithFaults as _;
use crate::stores::AllStores;

/// The admin token of each [`SignInSystem`].
pub const TOKEN: &str = "token-of-a-test-0123456789";

/// The admin API and the console over stores in memory.
pub struct SignInSystem {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// A clock that only the test moves.
    pub clock: Clock,
    local: LocalAws,
    settings: Settings,
    calls: Arc<Mutex<Vec<String>>>,
    _running: DropGuard,
}

impl SignInSystem {
    /// Starts it without a provider.
    pub async fn alone() -> Self {
        Self::start(standing(), &[]).await
    }

    /// Starts it with this provider and further variables (named without `BATON_`).
    pub async fn with(provider: &FakeProvider, variables: &[(&str, &str)]) -> Self {
        let issuer = provider.issuer();
        let own = [
            ("OIDC_ISSUER", issuer.as_str()),
            ("OIDC_CLIENT_ID", provider::CLIENT_ID),
            ("OIDC_CLIENT_SECRET", provider::CLIENT_SECRET),
            ("ALLOW_PRIVATE_UPSTREAMS", "1"),
        ];
        // The first value of a variable counts.
        Self::start(provider.clock.clone(), &[variables, &own].concat()).await
    }

    /// Starts it with these variables.
    pub async fn start(clock: Clock, variables: &[(&str, &str)]) -> Self {
        let calls: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = Arc::clone(&calls);
        let local = LocalAws::open(None).await.expect("stores").with_faults(move |target, _| {
            let operation = target.split('.').next_back().unwrap_or_default();
            notes.lock().expect("the notes").push(operation.to_owned());
            None
        });
        let mut settings = Settings::from_lookup(|name| {
            let name = name.strip_prefix("BATON_")?;
            let found = variables.iter().find(|(known, _)| *known == name);
            let token = (name == "ADMIN_TOKEN").then_some(TOKEN);
            found.map(|(_, value)| *value).or(token).map(str::to_owned)
        })
        .unwrap_or_else(|bad| panic!("{bad}"));
        settings.resources = local.resources();
        Self::over(local, settings, clock, calls).await
    }

    async fn over(
        local: LocalAws,
        settings: Settings,
        clock: Clock,
        calls: Arc<Mutex<Vec<String>>>,
    ) -> Self {
        let aws = AwsClients::new(&local.sdk_config());
        let store = AllStores::new(&aws, &settings, clock.clone(), RandomSource::system());
        let pepper = Secret::new("pepper-of-a-test".to_owned());
        let router = baton_admin::router(&settings, &pepper, store.admin, &aws).expect("a router");
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown(stopped);
            serving.await.expect("it serves");
        });
        Self { address, clock, local, settings, calls, _running: stop.drop_guard() }
    }

    /// Another process over the same stores, with another admin token.
    pub async fn again_with_token(&self, token: &str) -> Self {
        let mut settings = self.settings.clone();
        settings.admin_token = Some(Secret::new(token.to_owned()));
        let calls = Arc::clone(&self.calls);
        Self::over(self.local.clone(), settings, self.clock.clone(), calls).await
    }

    /// A client of the API with the admin token.
    pub fn admin(&self) -> OperatorClient {
        OperatorClient::at(self.address, TOKEN)
    }

    /// A person with an empty browser.
    pub fn visitor(&self) -> TestBrowser {
        TestBrowser::at(self.address)
    }

    /// Moves the clock forward.
    pub fn wait_minutes(&self, minutes: i64) {
        self.clock.advance(SignedDuration::from_mins(minutes));
    }

    /// The calls to the stores since the last look.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().expect("the notes"))
    }

    /// Creates a user and returns its id.
    pub async fn user(&self, fields: Value) -> String {
        self.admin().create("/users", &fields).await
    }

    /// Creates a key of the user. Returns its id and the whole key.
    pub async fn key_of(&self, user: &str) -> (String, String) {
        let key =
            self.admin().create_named("/keys", &json!({"name": "own", "user_id": user})).await;
        let text = |name: &str| key[name].as_str().expect("a text field").to_owned();
        (text("id"), text("secret"))
    }

    /// The newest rows of the audit trail with this action.
    pub async fn audit(&self, action: &str) -> Vec<Value> {
        let rows = self.admin().get(&format!("/audit?action={action}")).await.ok().json();
        rows["data"].as_array().expect("rows").clone()
    }
}

/// The time at which each test starts.
pub fn standing() -> Clock {
    Clock::fixed_at("2026-11-22T21:05:30Z".parse().expect("a time"))
}
