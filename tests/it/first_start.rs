//! The first start on an empty folder, and starts that fail.

use std::net::TcpListener;

use baton_test_harness::system::{OperatorClient, TestKey, TestSystem};
use baton_test_harness::upstream::FakeUpstream;

/// The words in a text that look like a relay key.
fn keys_in(text: &str) -> Vec<&str> {
    let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    text.split(word).filter(|word| word.starts_with("bt_")).collect()
}

/// The printed admin token: the last word of the line that names it.
fn admin_token(text: &str) -> &str {
    let line = text.lines().find(|line| line.trim_start().starts_with("admin token"));
    let line = line.unwrap_or_else(|| panic!("no line names the admin token:\n{text}"));
    line.split(|c: char| c.is_whitespace() || c == '=').next_back().expect("a word")
}

#[tokio::test]
async fn first_start_prints_setup_once() {
    let upstream = FakeUpstream::start();
    let launch = TestSystem::builder()
        .without_admin_token()
        .env("ANTHROPIC_API_KEY", "sk-ant-from-the-environment")
        .env("BATON_ANTHROPIC_BASE_URL", &upstream.url());
    let mut process = launch.start_process().await;
    let text = process.stdout();
    let base = format!("http://{}", process.relay);
    assert!(text.contains(&format!("ANTHROPIC_BASE_URL={base}")), "{text}");
    assert!(text.contains("export ANTHROPIC_BASE_URL="), "ready to paste: {text}");
    let console = format!("http://{}/console", process.admin);
    assert!(text.contains(&format!("{console} (sign in with the admin token)")), "{text}");
    let keys = keys_in(&text);
    let [secret] = keys.as_slice() else { panic!("one key, once: {keys:?} in\n{text}") };
    assert!(text.contains(&format!("ANTHROPIC_AUTH_TOKEN={secret}")), "{text}");

    // The printed line works, and the first account uses the key from the environment.
    TestKey::found(secret, &base).ask("hi").await.ok();
    let seen = upstream.last().request;
    assert!(seen.mentions("sk-ant-from-the-environment"));
    let token = admin_token(&text);
    let accounts = OperatorClient::at(process.admin, token).get("/accounts").await.ok().json();
    assert_eq!(accounts["data"].as_array().map(Vec::len), Some(1), "{accounts}");
    assert!(!process.stderr().contains(secret), "no secret in the log");

    let again = process.again();
    process.terminate();
    process.ended();
    let process = again.start_process().await;
    let text = process.stdout();
    assert!(keys_in(&text).is_empty(), "a second start prints no key:\n{text}");
    assert!(!text.contains(token), "a second start prints no token:\n{text}");
    assert!(text.contains(&format!("http://{}/console", process.admin)), "{text}");
    OperatorClient::at(process.admin, token).get("/groups").await.ok();
    let key = TestKey::found(secret, &format!("http://{}", process.relay));
    key.ask("hi again").await.ok();
    let accounts = OperatorClient::at(process.admin, token).get("/accounts").await.ok().json();
    assert_eq!(
        accounts["data"].as_array().map(Vec::len),
        Some(1),
        "the first account was created twice"
    );
}

#[tokio::test]
async fn private_upstreams_are_refused_by_default() {
    let upstream = FakeUpstream::start();
    let launch = TestSystem::builder().env("BATON_ALLOW_PRIVATE_UPSTREAMS", "0");
    let process = launch.start_process().await;
    let body = serde_json::json!({
        "name": "local", "provider": "anthropic", "base_url": upstream.url(),
        "credential": {"type": "api_key", "value": "s"},
    });
    let answer =
        OperatorClient::at(process.admin, &process.admin_token).post("/accounts", &body).await;
    answer.refused(400, "invalid_request_error");
}

#[test]
fn port_in_use_prints_one_line() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = taken.local_addr().expect("its address");
    let ended = TestSystem::builder().listen(address).spawn().ended();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let lines: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("in use")).collect();
    assert_eq!(lines.len(), 1, "{}", ended.stderr);
    assert!(lines[0].contains(&address.to_string()), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked") && !ended.stderr.contains("backtrace"));
}

#[test]
fn unusable_data_folder_prints_one_line() {
    let launch = TestSystem::builder();
    let file = launch.home().join("a-file");
    std::fs::write(&file, "in the way").expect("write");
    let ended = launch.data_at(&file).spawn().ended();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert!(ended.stderr.contains("a-file"), "the folder is named: {}", ended.stderr);
}

#[test]
fn wrong_usage_exits_with_2() {
    let ended = TestSystem::builder().arg("--no-such-flag").spawn().ended();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("--no-such-flag"), "{}", ended.stderr);
    let ended = TestSystem::builder().arg("--log-format").arg("xml").spawn().ended();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}

#[tokio::test]
async fn json_log_is_valid_and_has_no_secret() {
    let process = TestSystem::builder().arg("--log-format").arg("json").start_process().await;
    for line in process.stderr().lines() {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
    assert!(!process.stderr().contains(&process.admin_token));
}

#[tokio::test]
async fn printed_client_line_uses_relay_url() {
    let launch = TestSystem::builder().env("BATON_RELAY_URL", "https://llm.example.com/");
    let process = launch.start_process().await;
    let text = process.stdout();
    let line = "export ANTHROPIC_BASE_URL=https://llm.example.com ANTHROPIC_AUTH_TOKEN=bt_";
    assert!(text.contains(line), "{text}");
    assert!(text.contains(&format!("relay          http://{}", process.relay)), "{text}");
}
