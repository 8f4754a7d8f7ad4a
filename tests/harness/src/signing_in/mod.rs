//! Sign-in to the console: the admin API and console on a separate port with a stopped clock, an
//! identity provider ([`FakeProvider`]), and a browser without scripts ([`TestBrowser`]).

mod provider;
mod signature;
mod test_browser;

use std::net::SocketAddr;

use baton_domain::id::UserId;
use baton_domain::key::{Limits, Role, User};
use baton_domain::secret::Secret;
use baton_runtime::clock::Clock;
use baton_store::ConfigEdit;
use jiff::SignedDuration;
use serde_json::{Value, json};

pub use provider::FakeProvider;
pub use signature::TokenForgery;
pub use test_browser::{BrowserPage, TestBrowser};

use crate::system::{InProcessSystem, NOW, OperatorClient, TestSystem};

/// The admin API and the console over stores in memory.
pub struct SignInSystem {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// A clock that only the test moves.
    pub clock: Clock,
    system: InProcessSystem,
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
        ];
        // The last value of a variable counts.
        Self::start(provider.clock.clone(), &[&own, variables].concat()).await
    }

    /// Starts it with these variables.
    pub async fn start(clock: Clock, variables: &[(&str, &str)]) -> Self {
        let mut builder = TestSystem::builder();
        for (name, value) in variables {
            builder = builder.env(&format!("BATON_{name}"), value);
        }
        Self::over(builder.in_process().clock(clock).start().await)
    }

    fn over(system: InProcessSystem) -> Self {
        Self { address: system.admin_address(), clock: system.clock.clone(), system }
    }

    /// Another process over the same stores, with another admin token.
    pub fn again_with_token(&self, token: &str) -> Self {
        let mut system = self.system.another(8);
        system.settings.secrets.admin_token = Some(Secret::new(token.to_owned()));
        Self::over(system)
    }

    /// A client of the API with the admin token.
    pub fn admin(&self) -> OperatorClient {
        self.system.admin()
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
        self.system.take_calls()
    }

    /// Creates a user and returns its id.
    pub async fn user(&self, fields: Value) -> String {
        self.admin().create("/users", &fields).await
    }

    /// Stores a user with an e-mail address that another user has, which Baton 0.1.0 permitted.
    pub async fn store_second_user(&self, name: &str, email: &str) {
        let editor = &self.system.store.admin.editor;
        let user = User {
            id: UserId::from_bits(0xada),
            name: name.to_owned(),
            email: Some(email.to_owned()),
            role: Role::Member,
            enabled: true,
            limits: Limits::default(),
            session_round: 0,
            identity: None,
        };
        let mut edit = ConfigEdit::default();
        editor.save_user(&mut edit, &editor.new_stored(user, None)).expect("a user");
        editor.apply(edit).await.expect("it is stored");
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
    Clock::fixed_at(NOW.parse().expect("a time"))
}
