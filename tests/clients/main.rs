//! Real clients behave the same with and without Baton: each script runs once directly against the
//! fake upstream and once through the relay, and both must print the same. Translated answers are
//! compared across protocols.
//!
//! The clients are installed from the registries into `target/clients`, once, in pinned versions.
//! If that is impossible, the test fails instead of being skipped.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "shared checks fail the test that calls them"
)]

mod claude_code;
mod install;
mod matrix;
mod openai;
mod schemathesis;
mod sdks;
mod translated;

use std::path::Path;
use std::process::Command;

use baton_test_harness::system::{TestKey, TestSystem};
use baton_test_harness::upstream::FakeUpstream;

matrix::test_clients!(true:
    claude_code claude_code_bedrock codex anthropic_python anthropic_typescript openai_python_chat
    openai_python_responses openai_typescript_chat openai_typescript_responses
);

/// A base URL and the credential for it.
struct ClientTarget {
    url: String,
    credential: String,
}

impl ClientTarget {
    fn directly(upstream: &FakeUpstream) -> Self {
        Self { url: upstream.url(), credential: "sk-direct".into() }
    }

    fn through(system: &TestSystem, key: &TestKey) -> Self {
        Self { url: system.relay_url(), credential: key.secret.clone() }
    }

    /// A command for the client program without the developer's environment variables.
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
