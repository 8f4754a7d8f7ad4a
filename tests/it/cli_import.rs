//! `baton import`: what other relays hold is made here once, however often it is asked for.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use baton_tests::house::{TestKey, TestSystem};
use baton_tests::program::ProgramResult;
use serde_json::{Value, json};

fn fixture(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "fixtures", "import", name].iter().collect();
    path.display().to_string()
}

fn import(house: &mut TestSystem, source: &str, file: &str, more: &[&str]) -> ProgramResult {
    let all = [&["import", source, "--file", file], more].concat();
    house.process().command(&all)
}

#[track_caller]
fn done(ended: &ProgramResult) {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}

async fn named(house: &TestSystem, route: &str) -> Vec<Value> {
    let list = house.admin().get(route).await.ok().json();
    let mut rows = list["data"].as_array().cloned().unwrap_or_default();
    rows.retain(|row| row["name"] != "default" && row["name"] != "first");
    rows.sort_by_key(|row| row["name"].to_string());
    rows
}

#[tokio::test]
async fn keys_are_issued_anew_into_a_file_and_only_once() {
    let mut house = TestSystem::empty().await;
    house.account("main", &house.upstream.url()).await;
    let before = named(&house, "/keys").await.len();
    let file = fixture("claude-relay-service.json");
    let out = house.process().home().join("keys.csv");
    let path = out.display().to_string();
    let ended = import(&mut house, "claude-relay-service", &file, &["--out", &path]);
    done(&ended);
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

    let keys = named(&house, "/keys").await;
    assert_eq!(keys.len(), before + 2);
    let ci = keys.iter().find(|key| key["name"] == "ci").expect("ci");
    let limits = json!({
        "concurrency": 4, "requests_per_minute": 30, "usd_daily": "12.500000000000",
        "usd_total": "100.010000000000",
    });
    assert_eq!((&ci["limits"], &ci["expires_at"]), (&limits, &json!("2099-06-30T00:00:00Z")));
    let accounts = named(&house, "/accounts").await;
    let names: Vec<&Value> = accounts.iter().map(|account| &account["name"]).collect();
    assert_eq!(names, ["console", "main"], "no login among them");
    house
        .admin()
        .delete(&format!("/accounts/{}", accounts[0]["id"].as_str().expect("an id")))
        .await;
    TestKey::found(secret, &house.relay_url()).ask("hi").await.ok();

    let again = import(&mut house, "claude-relay-service", &file, &["--out", &path]);
    done(&again);
    assert!(again.stdout.contains("already exists"), "{}", again.stdout);
    assert_eq!(named(&house, "/keys").await, keys, "no second time");
    assert_eq!(std::fs::read_to_string(&out).expect("the keys"), written);
}

#[tokio::test]
async fn a_dry_run_makes_nothing_and_needs_no_baton() {
    let house = &mut TestSystem::empty().await;
    for (source, file) in [
        ("claude-relay-service", "claude-relay-service.json"),
        ("litellm", "litellm.yaml"),
        ("new-api", "new-api.json"),
    ] {
        let line =
            ["import", source, "--file", &fixture(file), "--dry-run", "--json"].map(String::from);
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let ended = house.process().command_with(&[], &line);
        done(&ended);
        let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        let rows = |name: &str| report[name].as_array().map_or(0, Vec::len);
        assert!(rows("data") > 2 && rows("left_behind") > 5, "{source}: {report:#}");
        assert!(!ended.stdout.contains("sk-made-up"), "{source}: no credential is shown");
    }
    assert!(named(house, "/groups").await.is_empty() && named(house, "/accounts").await.is_empty());
}

#[tokio::test]
async fn groups_accounts_and_keys_belong_together() {
    let mut house = TestSystem::empty().await;
    let text = std::fs::read_to_string(fixture("new-api.json")).expect("the fixture");
    let path = house.process().home().join("new-api.json").display().to_string();
    std::fs::write(&path, text.replace("\"type\": 1,", "\"type\": 14,")).expect("write");
    done(&import(&mut house, "new-api", &path, &[]));
    let groups = named(&house, "/groups").await;
    let accounts = named(&house, "/accounts").await;
    let of = |name: &str| accounts.iter().find(|account| account["name"] == name).expect(name);
    assert_eq!(of("openai")["groups"], json!([groups[0]["id"]]));
    assert_eq!(of("anthropic 1")["groups"].as_array().map(Vec::len), Some(2));
    let priorities = (&of("anthropic 2")["priority"], &of("openai")["priority"]);
    assert_eq!(priorities, (&json!(0), &json!(1)));
    let keys = named(&house, "/keys").await;
    let limited = keys.iter().find(|key| key["name"] == "limited").expect("limited");
    assert_eq!(limited["group_id"], groups[0]["id"]);
    assert_eq!(limited["limits"], json!({"usd_total": "2.469134000000"}));
}

#[tokio::test]
async fn rerun_import_creates_previously_refused_items() {
    let mut house = TestSystem::empty().await;
    let text = std::fs::read_to_string(fixture("litellm.yaml")).expect("the fixture");
    let path = house.process().home().join("broken.yaml").display().to_string();
    let broken = text.replace("\"2099-01-01 00:00:00\"", "\"in a while\"");
    std::fs::write(&path, broken).expect("write");
    let ended = import(&mut house, "litellm", &path, &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.contains("1 of them could not be created"), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("key daily") && ended.stdout.contains("expected a time"),
        "{}",
        ended.stdout
    );
    std::fs::write(&path, text).expect("write");
    let ended = import(&mut house, "litellm", &path, &["--json"]);
    done(&ended);
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let rows = report["data"].as_array().expect("rows");
    let (made, kept): (Vec<&Value>, Vec<&Value>) =
        rows.iter().partition(|row| row["result"] == "created");
    assert_eq!((made.len(), kept.len()), (1, 7), "{report:#}");
    assert!(made.iter().all(|row| row["secret"].as_str().is_some_and(|s| s.starts_with("bt_"))));
}

#[tokio::test]
async fn a_file_that_is_no_export_is_one_clear_line() {
    let mut house = TestSystem::empty().await;
    let path = house.process().home().join("strange").display().to_string();
    for text in ["{}", "{not: [json", ""] {
        std::fs::write(&path, text).expect("write");
        let ended = import(&mut house, "new-api", &path, &[]);
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{}", ended.stderr);
    }
    assert_eq!(import(&mut house, "new-api", "/no/such/file", &[]).code, Some(1));
    assert_eq!(import(&mut house, "one-api", &path, &[]).code, Some(2));
}
