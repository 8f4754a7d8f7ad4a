//! Reconciliation: Baton's usage is compared with a provider's report, and each different figure is
//! listed.

use std::path::Path;

use baton_domain::id::KeyId;
use baton_domain::record::UsageRecord;
use baton_domain::usage::{TokenCounts, UsageIteration};
use baton_test_harness::program::{Program, ProgramResult};
use baton_test_harness::system::{ADMIN_TOKEN, InProcessSystem, bare_command};
use serde_json::{Value, json};

/// The usage that the fixtures bill: two models on two days, one of them inside a request of the
/// other.
fn billed(in_process: &InProcessSystem) -> Vec<UsageRecord> {
    let billed_record = |model: &str, started_at: &str, tokens, usd: &str| {
        let mut record = in_process.record(&KeyId::from_bits(1));
        (record.model, record.upstream_model) = ("an-alias".into(), model.into());
        record.started_at = started_at.parse().expect("a time");
        (record.tokens, record.cost_usd) = (tokens, usd.parse().expect("an amount"));
        record
    };
    let none = TokenCounts::default();
    let first =
        TokenCounts { input: 1500, output: 150, cache_read: 3000, cache_write_5m: 200, ..none };
    let mut second = billed_record(
        "claude-opus-5-5",
        "2026-11-21T23:59:59Z",
        TokenCounts { input: 500, output: 50, ..none },
        "0.01",
    );
    second.web_searches = 1;
    let haiku = TokenCounts { input: 600, output: 60, ..none };
    let advisor = TokenCounts { input: 400, output: 40, cache_write_1h: 400, ..none };
    let mut third =
        billed_record("claude-haiku-5-5-20260901", "2026-11-22T00:00:00Z", haiku, "0.005");
    third.tokens.add_counts(&advisor);
    third.iterations = vec![UsageIteration {
        kind: "advisor_message".into(),
        model: Some("claude-haiku-5-5".into()),
        tokens: advisor,
    }];
    let mut other_provider = billed_record("claude-opus-5-5", "2026-11-22T01:00:00Z", first, "7");
    other_provider.provider = "bedrock".into();
    vec![
        billed_record("claude-opus-5-5", "2026-11-21T00:00:00Z", first, "0.02"),
        second,
        third,
        other_provider,
    ]
}

/// Runs `baton usage reconcile` with these fixtures as files.
fn run(in_process: &InProcessSystem, files: &[&str], further: &[&str]) -> ProgramResult {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/reconcile");
    let home = tempfile::TempDir::new().expect("a home");
    let mut command = bare_command(home.path());
    let url = in_process.admin_url();
    command.args(["usage", "reconcile", "--url", &url, "--token", ADMIN_TOKEN]);
    for file in files {
        command.arg("--file").arg(folder.join(file));
    }
    Program::run(command.args(further), std::time::Duration::from_secs(30))
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_usage_has_no_differences_in_any_report_format() {
    let in_process = InProcessSystem::open().await;
    in_process.store_all(&billed(&in_process)).await;
    for file in ["tokens.csv", "usage_report.json", "cost.csv", "cost_report.json"] {
        let ended = run(&in_process, &[file], &["--json"]);
        assert_eq!(ended.code, Some(0), "{file}: {}{}", ended.stdout, ended.stderr);
        let answer: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        assert_eq!(answer, json!({"data": []}), "{file}");
        let said = run(&in_process, &[file], &[]).stdout;
        assert_eq!(said.trim(), "no figures differ between 2026-11-21 and 2026-11-22", "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_are_listed_and_fail_beyond_the_tolerance() {
    let in_process = InProcessSystem::open().await;
    let mut records = billed(&in_process);
    records[0].tokens.input += 20;
    records[2].cost_usd = "0.006".parse().expect("an amount");
    in_process.store_all(&records).await;
    let ended = run(&in_process, &["tokens.csv"], &["--json"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let answer: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let row = json!({
        "day": "2026-11-21", "model": "claude-opus-5-5", "figure": "input",
        "baton": "2020", "provider": "2000", "difference": "20",
    });
    assert_eq!(answer, json!({ "data": [row] }));
    let said = "baton: one figure differs between 2026-11-21 and 2026-11-22";
    assert_eq!(ended.stderr.trim(), said);
    assert_eq!(run(&in_process, &["tokens.csv"], &["--tolerance", "1"]).code, Some(0));
    assert_eq!(run(&in_process, &["tokens.csv"], &["--tolerance", "0.9"]).code, Some(1));

    let ended = run(&in_process, &["cost_report.json"], &[]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains("0.001000000000"), "{}", ended.stdout);
    assert_eq!(run(&in_process, &["cost.csv"], &["--provider", "bedrock"]).code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_report_is_refused() {
    let in_process = InProcessSystem::open().await;
    for (files, further, code, word) in [
        (&["none.csv"][..], &[][..], 1, "none.csv"),
        (&["../errors/errors.json"], &[], 1, "Usage or Cost API"),
        (&["tokens.csv", "cost.csv"], &[], 1, "the same kind"),
        (&["tokens.csv"], &["--tolerance", "much"], 2, "--tolerance"),
    ] {
        let ended = run(&in_process, files, further);
        assert_eq!(ended.code, Some(code), "{files:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(word), "{files:?}: {}", ended.stderr);
    }
}
