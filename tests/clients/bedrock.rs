//! Claude Code in its Amazon Bedrock mode, with Baton as the endpoint.

use std::time::Duration;

use baton_test_harness::client_matrix::FAST;
use baton_test_harness::program::Program;
use baton_test_harness::system::{MODEL, TestKey, TestSystem};
use baton_test_harness::upstream::{ACCESS_KEY, SECRET_KEY};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{ClientTarget, install};

const CLIENT_TIMEOUT: Duration = Duration::from_mins(2);
const TOOL: &str = "please run [[tool:echo hi-from-bash]]";

/// Runs `claude -p` and returns its JSON report.
fn claude(system: &TestSystem, key: &TestKey) -> Value {
    let home = TempDir::with_prefix("claude-").expect("a home");
    let program = install::node_folder(FAST).join("node_modules/.bin/claude");
    let mut command = ClientTarget::through(system, key).client(&program, home.path());
    command
        .env_remove("ANTHROPIC_BASE_URL")
        .env("CLAUDE_CODE_USE_BEDROCK", "1")
        .env("CLAUDE_CODE_SKIP_BEDROCK_AUTH", "1")
        .env("ANTHROPIC_BEDROCK_BASE_URL", system.relay_url())
        .env("AWS_REGION", "us-west-2")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("CLAUDE_CODE_MAX_RETRIES", "1")
        .args(["-p", TOOL, "--allowedTools", "Bash", "--output-format", "json"])
        .current_dir(home.path());
    let ended = Program::run(&mut command, CLIENT_TIMEOUT);
    serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|e| panic!("{e}: {:?} {}{}", ended.code, ended.stdout, ended.stderr))
}

async fn system() -> TestSystem {
    let launch = TestSystem::builder()
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    launch.start().await
}

#[tokio::test]
async fn claude_code_bedrock_mode_works_with_bedrock_and_anthropic_accounts() {
    let (bedrock, anthropic) = (system().await, TestSystem::open().await);
    let account = json!({
        "name": "bedrock", "provider": "bedrock", "base_url": bedrock.upstream.url(),
        "credential": {"type": "aws", "region": "us-west-2"},
        "model_map": {MODEL: "us.anthropic.claude-opus-5-5-v1:0"},
    });
    bedrock.admin().create("/accounts", &account).await;
    for system in [bedrock, anthropic] {
        let key = system.key("claude").create().await;
        let report = claude(&system, &key);
        assert_eq!(report["result"], "The tool said: hi-from-bash", "{report:#}");
        assert_eq!(report["num_turns"], 2, "{report:#}");
        system.summary_equals(&system.upstream.ledger().total()).await;
    }
}
