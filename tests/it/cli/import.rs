//! `baton import`: resources of other relays are created once, even if the import is repeated.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use baton_test_harness::program::ProgramResult;
use baton_test_harness::system::{TestKey, TestSystem};
use serde_json::{Value, json};

fn fixture(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "fixtures", "import", name].iter().collect();
    path.display().to_string()
}

fn import(system: &mut TestSystem, source: &str, file: &str, flags: &[&str]) -> ProgramResult {
    let all = [&["import", source, "--file", file], flags].concat();
    system.process().command(&all)
}

#[track_caller]
fn assert_success(ended: &ProgramResult) {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}

async fn rows_by_name(system: &TestSystem, route: &str) -> Vec<Value> {
    let list = system.admin().get(route).await.ok().json();
    let mut rows = list["data"].as_array().cloned().unwrap_or_default();
    rows.retain(|row| row["name"] != "default" && row["name"] != "first");
    rows.sort_by_key(|row| row["name"].to_string());
    rows
}

#[tokio::test]
async fn imported_keys_are_new_and_written_once() {
    let mut system = TestSystem::empty().await;
    system.account("main", &system.upstream.url()).await;
    let before = rows_by_name(&system, "/keys").await.len();
    let file = fixture("claude-relay-service.json");
    let out = system.process().home().join("keys.csv");
    let path = out.display().to_string();
    let ended = import(&mut system, "claude-relay-service", &file, &["--out", &path]);
    assert_success(&ended);
    assert!(ended.stdout.contains("subscription login"), "{}", ended.stdout);
    let written = std::fs::read_to_string(&out).expect("the keys");
    let mode = std::fs::metadata(&out).expect("the keys").permissions().mode();
    assert_eq!((mode & 0o777, written.lines().count()), (0o600, 3), "{written}");
    let secret =
        written.lines().find(|line| line.starts_with("ci,")).and_then(|l| l.rsplit(',').next());
    let secret = secret.expect("a secret");
    assert!(
        !ended.stdout.contains(secret) && !ended.stdout.contains("made-up"),
        "{}",
        ended.stdout
    );

    let keys = rows_by_name(&system, "/keys").await;
    assert_eq!(keys.len(), before + 2);
    let ci = keys.iter().find(|key| key["name"] == "ci").expect("ci");
    let limits = json!({
        "concurrency": 4, "requests_per_minute": 30, "usd_daily": "12.500000000000",
        "usd_total": "100.010000000000",
    });
    assert_eq!((&ci["limits"], &ci["expires_at"]), (&limits, &json!("2099-06-30T00:00:00Z")));
    let accounts = rows_by_name(&system, "/accounts").await;
    let names: Vec<&Value> = accounts.iter().map(|account| &account["name"]).collect();
    assert_eq!(names, ["console", "main"], "an account of a subscription login was created");
    system
        .admin()
        .delete(&format!("/accounts/{}", accounts[0]["id"].as_str().expect("an id")))
        .await;
    TestKey::found(secret, &system.relay_url()).ask("hi").await.ok();

    let again = import(&mut system, "claude-relay-service", &file, &["--out", &path]);
    assert_success(&again);
    assert!(again.stdout.contains("already exists"), "{}", again.stdout);
    assert_eq!(rows_by_name(&system, "/keys").await, keys, "keys were created twice");
    assert_eq!(std::fs::read_to_string(&out).expect("the keys"), written);
}

#[tokio::test]
async fn dry_run_creates_nothing_and_needs_no_server() {
    let system = &mut TestSystem::empty().await;
    for (source, file) in [
        ("claude-relay-service", "claude-relay-service.json"),
        ("litellm", "litellm.yaml"),
        ("new-api", "new-api.json"),
    ] {
        let line =
            ["import", source, "--file", &fixture(file), "--dry-run", "--json"].map(String::from);
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let ended = system.process().command_with(&[], &line);
        assert_success(&ended);
        let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        let rows = |name: &str| report[name].as_array().map_or(0, Vec::len);
        assert!(rows("data") > 2 && rows("left_behind") > 5, "{source}: {report:#}");
        assert!(!ended.stdout.contains("sk-made-up"), "{source}: no credential is shown");
    }
    assert!(
        rows_by_name(system, "/groups").await.is_empty()
            && rows_by_name(system, "/accounts").await.is_empty()
    );
}

#[tokio::test]
async fn imported_keys_and_accounts_keep_their_groups() {
    let mut system = TestSystem::empty().await;
    let text = std::fs::read_to_string(fixture("new-api.json")).expect("the fixture");
    let path = system.process().home().join("new-api.json").display().to_string();
    std::fs::write(&path, text.replace("\"type\": 1,", "\"type\": 14,")).expect("write");
    assert_success(&import(&mut system, "new-api", &path, &[]));
    let groups = rows_by_name(&system, "/groups").await;
    let accounts = rows_by_name(&system, "/accounts").await;
    let of = |name: &str| accounts.iter().find(|account| account["name"] == name).expect(name);
    assert_eq!(of("openai")["groups"], json!([groups[0]["id"]]));
    assert_eq!(of("anthropic 1")["groups"].as_array().map(Vec::len), Some(2));
    let priorities = (&of("anthropic 2")["priority"], &of("openai")["priority"]);
    assert_eq!(priorities, (&json!(0), &json!(1)));
    let keys = rows_by_name(&system, "/keys").await;
    let limited = keys.iter().find(|key| key["name"] == "limited").expect("limited");
    assert_eq!(limited["group_id"], groups[0]["id"]);
    assert_eq!(limited["limits"], json!({"usd_total": "2.469134000000"}));
}

#[tokio::test]
async fn rerun_import_creates_previously_refused_items() {
    let mut system = TestSystem::empty().await;
    let text = std::fs::read_to_string(fixture("litellm.yaml")).expect("the fixture");
    let path = system.process().home().join("broken.yaml").display().to_string();
    let broken = text.replace("\"2099-01-01 00:00:00\"", "\"in a while\"");
    std::fs::write(&path, broken).expect("write");
    let ended = import(&mut system, "litellm", &path, &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.contains("1 of them could not be created"), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("key daily") && ended.stdout.contains("expected a time"),
        "{}",
        ended.stdout
    );
    std::fs::write(&path, text).expect("write");
    let ended = import(&mut system, "litellm", &path, &["--json"]);
    assert_success(&ended);
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let rows = report["data"].as_array().expect("rows");
    let (created, kept): (Vec<&Value>, Vec<&Value>) =
        rows.iter().partition(|row| row["result"] == "created");
    assert_eq!((created.len(), kept.len()), (1, 7), "{report:#}");
    assert!(created.iter().all(|row| row["secret"].as_str().is_some_and(|s| s.starts_with("bt_"))));
}

#[tokio::test]
async fn invalid_export_file_prints_one_line() {
    let mut system = TestSystem::empty().await;
    let path = system.process().home().join("strange").display().to_string();
    for text in ["{}", "{not: [json", ""] {
        std::fs::write(&path, text).expect("write");
        let ended = import(&mut system, "new-api", &path, &[]);
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{}", ended.stderr);
    }
    assert_eq!(import(&mut system, "new-api", "/no/such/file", &[]).code, Some(1));
    assert_eq!(import(&mut system, "one-api", &path, &[]).code, Some(2));
}
