//! Anthropic's Python and TypeScript SDKs.

use std::process::Command;
use std::time::Duration;

use baton_test_harness::client_matrix::FAST;
use baton_test_harness::fixtures;
use baton_test_harness::program::Program;
use baton_test_harness::system::TestSystem;
use baton_test_harness::upstream::FakeUpstream;
use serde_json::Value;
use tempfile::TempDir;

use crate::{ClientTarget, install};

const CLIENT_TIMEOUT: Duration = Duration::from_mins(2);
/// Results that every run must have, so that two empty results do not count as equal.
const CASES: [&str; 8] =
    ["whole", "streamed", "thinking", "tool", "count_tokens", "model", "error", "fixtures"];

fn python(target: &ClientTarget) -> Command {
    let mut command = target.client(&install::python(FAST), std::env::temp_dir().as_path());
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/sdk.py"));
    command
}

fn typescript(target: &ClientTarget) -> Command {
    let folder = install::node_folder(FAST);
    let mut command = target.client("node".as_ref(), std::env::temp_dir().as_path());
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/sdk.mjs")).current_dir(folder);
    command
}

/// Runs the script and returns what it prints: one JSON object with an entry for each case.
fn results(mut command: Command) -> Value {
    let home = TempDir::with_prefix("client-").expect("a home");
    let whole = fixtures::streams("anthropic").into_iter().filter(|stream| stream.complete);
    let names: Vec<String> = whole.map(|stream| stream.name).collect();
    command.env("HOME", home.path()).args(names);
    let ended = Program::run(&mut command, CLIENT_TIMEOUT);
    assert_eq!(ended.code, Some(0), "{command:?}\n{}{}", ended.stdout, ended.stderr);
    let results: Value = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}{}", ended.stdout, ended.stderr));
    for case in CASES {
        assert!(!results[case].is_null(), "{case} is missing: {results:#}");
    }
    assert_eq!(results["tool"][1], "The tool said: 42", "{results:#}");
    assert!(results["thinking"].to_string().contains("signature"), "{results:#}");
    results
}

async fn assert_relayed_equals_direct(client: fn(&ClientTarget) -> Command) {
    let upstream = FakeUpstream::start();
    let mut direct = results(client(&ClientTarget::directly(&upstream)));

    let system = TestSystem::open().await;
    let key = system.key("sdk").create().await;
    let mut relayed = results(client(&ClientTarget::through(&system, &key)));
    // The relay itself answers the list of models. Only its form is checked.
    for results in [&mut direct, &mut relayed] {
        let models = results["models"].take();
        let models = models.as_array().expect("a list of models");
        assert!(!models.is_empty(), "no model");
        for id in models {
            assert!(id.as_str().is_some_and(|id| id.starts_with("claude-")), "{id}");
        }
    }
    assert!(relayed == direct, "relayed: {relayed:#}\ndirect: {direct:#}");
    assert_eq!(system.upstream.ledger(), upstream.ledger(), "the ledgers differ");
    system.summary_equals(&system.upstream.ledger().total()).await;
}

#[tokio::test]
async fn python_sdk_results_are_the_same_through_baton() {
    assert_relayed_equals_direct(python).await;
}

#[tokio::test]
async fn typescript_sdk_results_are_the_same_through_baton() {
    assert_relayed_equals_direct(typescript).await;
}

#[test]
fn sdks_work_with_fake_upstream() {
    for client in [python, typescript] {
        let upstream = FakeUpstream::start();
        results(client(&ClientTarget::directly(&upstream)));
    }
}
