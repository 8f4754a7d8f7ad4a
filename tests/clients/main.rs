//! Real clients do through Baton what they do without it: the same script runs once directly
//! against the upstream and once relayed, and what it prints must be the same. What is translated
//! is compared across dialects.
//!
//! The clients are installed from the registries into `target/clients`, once, in pinned versions.
//! A test fails, it is not skipped, when that is impossible.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check that many tests share may fail them where it stands"
)]

mod bedrock;
mod claude_code;
mod install;
mod openai;
mod schemathesis;
mod sdks;
mod translated;

use std::path::Path;
use std::process::Command;

use baton_tests::house::{TestKey, TestSystem};
use baton_tests::upstream::FakeUpstream;

/// A base URL and what opens it.
struct ClientTarget {
    url: String,
    credential: String,
}

impl ClientTarget {
    fn directly(upstream: &FakeUpstream) -> Self {
        Self { url: upstream.url(), credential: "sk-direct".into() }
    }

    fn through(house: &TestSystem, key: &TestKey) -> Self {
        Self { url: house.relay_url(), credential: key.secret.clone() }
    }

    /// A client's program with nothing of the developer's environment.
    fn client(&self, program: &Path, home: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("ANTHROPIC_BASE_URL", &self.url)
            .env("ANTHROPIC_AUTH_TOKEN", &self.credential);
        command
    }
}
