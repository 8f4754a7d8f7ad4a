//! Claude Code itself, headless, with a tool call.

use std::time::Duration;

use baton_test_harness::client_matrix::FAST;
use baton_test_harness::program::Program;
use baton_test_harness::system::{SOON, TestSystem, spent_key};
use baton_test_harness::upstream::{FakeUpstream, ServedTokens};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{ClientTarget, install};

const CLIENT_TIMEOUT: Duration = Duration::from_mins(2);

/// Runs `claude -p` and returns its JSON report.
fn claude(target: &ClientTarget, prompt: &str) -> Value {
    let home = TempDir::with_prefix("claude-").expect("a home");
    let program = install::node_folder(FAST).join("node_modules/.bin/claude");
    let mut command = target.client(&program, home.path());
    command
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("CLAUDE_CODE_MAX_RETRIES", "1")
        .args(["-p", prompt, "--allowedTools", "Bash", "--output-format", "json"])
        .current_dir(home.path());
    let ended = Program::run(&mut command, CLIENT_TIMEOUT);
    serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|e| panic!("{e}: {:?} {}{}", ended.code, ended.stdout, ended.stderr))
}

/// The fields that must be the same with and without Baton: the answer, the turns, whether it
/// failed and how.
fn comparable_fields(report: &Value) -> Value {
    let fields = ["result", "num_turns", "is_error", "api_error_status", "terminal_reason"];
    fields.iter().map(|field| ((*field).to_owned(), report[*field].clone())).collect()
}

/// The tokens that the client itself counted.
fn client_tokens(report: &Value) -> ServedTokens {
    let models = report["modelUsage"].as_object().expect("modelUsage");
    let mut usage = ServedTokens::default();
    for model in models.values() {
        let number = |name: &str| model[name].as_u64().unwrap_or_default();
        usage.input += number("inputTokens");
        usage.output += number("outputTokens");
        usage.cache_read += number("cacheReadInputTokens");
        usage.cache_write_5m += number("cacheCreationEphemeral5mInputTokens");
        usage.cache_write_1h += number("cacheCreationEphemeral1hInputTokens");
    }
    usage
}

const TOOL: &str = "please run [[tool:echo hi-from-bash]]";

#[test]
fn claude_code_works_with_fake_upstream() {
    let upstream = FakeUpstream::start();
    let report = claude(&ClientTarget::directly(&upstream), TOOL);
    assert_eq!(report["result"], "The tool said: hi-from-bash", "{report:#}");
    assert_eq!(report["num_turns"], 2);
    assert_eq!(client_tokens(&report), upstream.ledger().total().usage);
}

#[tokio::test]
async fn relayed_report_equals_direct_report() {
    let prompts = [
        "say hi",
        TOOL,
        "[[thinking]]",
        "[[fixture:utf8_multibyte;size=9]]",
        "[[error:prompt_too_long]]",
        "[[error:max_tokens_too_large]]",
    ];
    for prompt in prompts {
        let upstream = FakeUpstream::start();
        let direct = claude(&ClientTarget::directly(&upstream), prompt);
        let system = TestSystem::open().await;
        let key = system.key("claude").create().await;
        let relayed = claude(&ClientTarget::through(&system, &key), prompt);
        assert_eq!(
            comparable_fields(&relayed),
            comparable_fields(&direct),
            "{prompt}: {relayed:#}"
        );
        let calls = |u: &FakeUpstream| u.exchanges_on("/v1/messages").len();
        assert_eq!(calls(&system.upstream), calls(&upstream), "{prompt}: the same number of calls");
        if relayed["is_error"] == false && !prompt.contains("fixture") {
            assert_eq!(client_tokens(&relayed), system.upstream.ledger().total().usage, "{prompt}");
            system.summary_equals_within(SOON, &system.upstream.ledger().total()).await;
        }
    }
}

#[tokio::test]
async fn spent_budget_message_is_shown_without_retry() {
    let system = TestSystem::open().await;
    let key = spent_key(&system, "poor").await;
    let blocked = |expect: &str| {
        let report = claude(&ClientTarget::through(&system, &key), "say hi");
        assert_eq!(report["is_error"], json!(true), "{report:#}");
        let text = report["result"].as_str().unwrap_or_default();
        assert!(text.contains(expect), "{report:#}");
    };
    blocked("spend limit reached · resets ");
    let admin = system.admin();
    let words = json!({ "message": "Ask in #llm for more." });
    admin.send("PUT", "/limits/message", &words).await.ok();
    let limits = json!({ "usd_monthly": "0" });
    admin.send("PUT", "/limits/organization", &limits).await.ok();
    blocked(" · Ask in #llm for more.");
    assert_eq!(
        system.upstream.exchanges_on("/v1/messages").len(),
        1,
        "no further request was sent"
    );
}
