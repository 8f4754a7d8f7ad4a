//! `baton alert`: the alert settings on the command line.

use std::time::Duration;

use baton_refresh::alerts::send_alerts;
use baton_test_harness::program::{Program, ProgramResult};
use baton_test_harness::system::{ADMIN_TOKEN, InProcessSystem, bare_command};
use serde_json::{Value, json};

/// Runs a command of `baton` with `input` on its standard input.
fn run(in_process: &InProcessSystem, arguments: &[&str], input: &str) -> ProgramResult {
    let home = tempfile::TempDir::new().expect("a home");
    let mut command = bare_command(home.path());
    command.env("BATON_URL", in_process.admin_url()).env("BATON_ADMIN_TOKEN", ADMIN_TOKEN);
    Program::fed(command.args(arguments), input, Duration::from_secs(30))
}

fn alert(in_process: &InProcessSystem, arguments: &[&str], input: &str) -> ProgramResult {
    run(in_process, &[&["alert"], arguments].concat(), input)
}

fn alert_settings(in_process: &InProcessSystem) -> Value {
    serde_json::from_str(&alert(in_process, &["show", "--json"], "").stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn alert_set_keeps_other_settings() {
    let in_process = InProcessSystem::open().await;
    assert_eq!(alert_settings(&in_process)["thresholds"], json!([50, 80, 95, 100]));
    let address = "https://hooks.example.com/services/very-secret";
    let set = alert(&in_process, &["set", "--webhook", "-", "--form", "slack"], address);
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    assert!(set.stdout.contains("hooks.example.com (slack)"), "{}", set.stdout);
    assert!(set.stdout.contains("shown only once") && !set.stdout.contains("very-secret"));
    let set = alert(&in_process, &["set", "--threshold", "90", "--threshold", "70%"], "");
    assert!(set.stdout.contains("70, 90 %"), "{}", set.stdout);
    assert!(!set.stdout.contains("shown only once"), "{}", set.stdout);
    let now = alert_settings(&in_process);
    assert_eq!((&now["form"], &now["version"]), (&json!("slack"), &json!(2)));
    assert_eq!(now["url_host"], "hooks.example.com");
    for bad in [&["set"][..], &["set", "--threshold", "half"], &["set", "--sns-topic", "a b"]] {
        let ended = alert(&in_process, bad, "");
        assert!(ended.code > Some(0) && ended.stderr.lines().count() < 8, "{}", ended.stderr);
    }
    let signed = alert(&in_process, &["set", "--signing-secret"], "a-secret-of-our-own-choice\n");
    assert_eq!(signed.code, Some(0), "{}", signed.stderr);
    assert!(!signed.stdout.contains("a-secret-of-our-own-choice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn alert_test_reports_failed_delivery() {
    let in_process = InProcessSystem::open().await;
    let ended = alert(&in_process, &["test"], "");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("nowhere to send it"), "{}", ended.stderr);
    let set = alert(&in_process, &["set", "--webhook", "http://127.0.0.1:9/hook"], "");
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let (store, notifier) = (in_process.store.clone(), in_process.notifier());
    let sending = tokio::spawn(async move {
        while send_alerts(&store.refresh, &notifier, "test").await.is_ok_and(|run| run.failed == 0)
        {
            tokio::task::yield_now().await;
        }
    });
    let ended = tokio::task::block_in_place(|| alert(&in_process, &["test"], ""));
    sending.await.expect("one failed delivery");
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    let text = &ended.stderr;
    assert!(text.contains("webhook: ") && text.contains("tries again"), "{text}");
    assert!(!text.contains("/hook"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credential_from_stdin_can_have_many_lines() {
    let in_process = InProcessSystem::open().await;
    let credential = "{\n \"type\": \"api_key\",\n \"value\": \"sk-piped\"\n}\n";
    let arguments = ["account", "add", "--name", "piped", "--credential", "-"];
    let ended = run(&in_process, &arguments, credential);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
