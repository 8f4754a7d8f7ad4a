//! The operator's commands. They call a running Baton over its admin API.

mod alerts;
mod completions;
mod doctor;
mod import;
mod profiles;
mod resources;

use baton_test_harness::program::ProgramResult;
use baton_test_harness::system::{TestKey, TestSystem};

/// Runs a command with the address and the token of the system in its environment.
fn baton(system: &mut TestSystem, arguments: &[&str]) -> ProgramResult {
    system.process().command(arguments)
}

fn succeed(system: &mut TestSystem, arguments: &[&str]) -> String {
    let ended = baton(system, arguments);
    assert_eq!(ended.code, Some(0), "baton {arguments:?}: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

fn secret_in(text: &str) -> &str {
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let mut secrets = text.split(word).filter(|word| word.starts_with("bt_"));
    secrets.next().unwrap_or_else(|| panic!("no key in: {text}"))
}

#[tokio::test]
async fn account_key_and_usage_commands_work() {
    let mut system = TestSystem::empty().await;
    let url = system.upstream.url();
    let add = ["account", "add", "--name", "main", "--base-url", &url, "--api-key", "sk-cli"];
    let output = succeed(&mut system, &add);
    assert!(!output.contains("sk-cli"), "{output}");
    let output = succeed(&mut system, &["key", "create", "--name", "ci"]);
    let key = TestKey::found(secret_in(&output), &system.relay_url());
    key.ask("hi").await.ok();
    assert!(system.upstream.last().request.mentions("sk-cli"));

    let row = system.upstream.ledger().total();
    system.summary_equals(&row).await;
    let table = succeed(&mut system, &["usage"]);
    assert!(table.contains(&row.usage.input.to_string()), "{table}");
    let listed = succeed(&mut system, &["key", "list"]);
    assert!(listed.contains("ci") && !listed.contains(&key.secret), "{listed}");
}

#[tokio::test]
async fn failing_command_prints_one_line() {
    let mut system = TestSystem::empty().await;
    let ended = baton(&mut system, &["key", "create", "--name", "x", "--group", "no-such-group"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert_eq!(ended.stderr.trim().lines().count(), 1, "{}", ended.stderr);
    assert_eq!(baton(&mut system, &["key", "make"]).code, Some(2));
    assert_eq!(baton(&mut system, &["--help"]).code, Some(0));
}

#[tokio::test]
async fn program_without_a_command_prints_its_help() {
    let mut system = TestSystem::empty().await;
    let (bare, help) = (baton(&mut system, &[]), baton(&mut system, &["-h"]));
    assert_eq!((bare.code, bare.stderr.as_str()), (Some(0), ""));
    assert_eq!(bare.stdout, help.stdout);
    for word in ["Usage: baton", "up", "serve", "account"] {
        assert!(bare.stdout.contains(word), "{word}: {}", bare.stdout);
    }
}

#[tokio::test]
async fn limit_commands_set_list_and_remove() {
    let mut system = TestSystem::empty().await;
    let set = ["limit", "set", "--for", "organization", "--period", "weekly", "--usd", "12.50"];
    let output = succeed(&mut system, &set);
    assert!(output.contains("spl_wo"), "{output}");
    let listed = succeed(&mut system, &["limit", "list"]);
    assert!(listed.contains("spl_wo") && listed.contains("12.50"), "{listed}");
    succeed(&mut system, &["limit", "remove", "--yes", "spl_wo"]);
    let listed = succeed(&mut system, &["limit", "list"]);
    assert!(!listed.contains("spl_wo"), "{listed}");
    let bad = ["limit", "set", "--for", "organization", "--usd", "a lot"];
    assert_eq!(baton(&mut system, &bad).code, Some(2));
}
