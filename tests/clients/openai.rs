//! OpenAI's Python and TypeScript SDKs on accounts of either vendor: what the matrix does not try.

use std::process::Command;
use std::time::Duration;

use baton_test_harness::client_matrix::FAST;
use baton_test_harness::program::Program;
use baton_test_harness::system::{SOON, TestKey, TestSystem};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{ClientTarget, install};

const CLIENT_TIMEOUT: Duration = Duration::from_mins(2);
const HELLO: &str = "Hello wörld 你好 🦀 from the fake upstream.";

/// Kinds of accounts: the provider, and whether it has the Responses API.
const ACCOUNTS: [(&str, bool); 3] =
    [("anthropic", false), ("openai_compatible", false), ("openai_compatible", true)];

async fn system((provider, speaks_responses): (&str, bool)) -> (TestSystem, TestKey) {
    let system = TestSystem::empty().await;
    let fields = json!({"provider": provider, "speaks_responses": speaks_responses});
    system.account_with("main", &system.upstream.url(), fields).await;
    let key = system.key("sdk").create().await;
    (system, key)
}

fn python() -> Command {
    let mut command = Command::new(install::python(FAST));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/openai_sdk.py"));
    command
}

fn typescript() -> Command {
    let mut command = Command::new("node");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/openai_sdk.mjs"))
        .current_dir(install::node_folder(FAST));
    command
}

/// Runs the script and returns the JSON that it prints.
fn results(mut command: Command, target: &ClientTarget) -> Value {
    let home = TempDir::with_prefix("client-").expect("a home");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("OPENAI_BASE_URL", format!("{}/v1", target.url))
        .env("OPENAI_API_KEY", &target.credential);
    let ended = Program::run(&mut command, CLIENT_TIMEOUT);
    assert_eq!(ended.code, Some(0), "{command:?}\n{}{}", ended.stdout, ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {}", ended.stdout))
}

async fn same_on_every_account(client: fn() -> Command) {
    let round = json!(["lookup", {"value": "answer"}, "The tool said: 42"]);
    for account in ACCOUNTS {
        let (system, key) = system(account).await;
        let results = results(client(), &ClientTarget::through(&system, &key));
        let expect = json!({
            "chat": HELLO,
            "chat_streamed": [HELLO, false],
            "chat_usage": [HELLO, true],
            "chat_round": round,
            "responses_streamed": [HELLO, HELLO, "completed", true],
            "responses": HELLO,
            "responses_round": ["lookup", {"value": "answer"}, "The tool said: 42"],
            "models": true,
            "error": ["BadRequestError", 400, true],
        });
        assert!(results == expect, "{account:?}: {results:#}");
        system.summary_equals_within(SOON, &system.upstream.ledger().total()).await;
    }
}

#[tokio::test]
async fn python_sdk_works_with_both_vendors() {
    same_on_every_account(python).await;
}

#[tokio::test]
async fn typescript_sdk_works_with_both_vendors() {
    same_on_every_account(typescript).await;
}
