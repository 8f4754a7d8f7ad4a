//! The operator's commands for each resource: add, show, change and remove, by id and by name.

use baton_test_harness::program::ProgramResult;
use baton_test_harness::system::{TestKey, TestSystem};
use serde_json::{Value, json};

fn run(system: &mut TestSystem, line: &str) -> ProgramResult {
    let arguments: Vec<&str> = line.split_whitespace().collect();
    system.process().command(&arguments)
}

#[track_caller]
fn run_ok(system: &mut TestSystem, line: &str) -> String {
    let ended = run(system, line);
    assert_eq!(ended.code, Some(0), "baton {line}: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

#[track_caller]
fn json_of(system: &mut TestSystem, line: &str) -> Value {
    let text = run_ok(system, &format!("{line} --json"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
}

/// The command fails with this code and prints one line that contains all `words`.
#[track_caller]
fn assert_fails(system: &mut TestSystem, line: &str, code: i32, words: &[&str]) {
    let ended = run(system, line);
    assert_eq!(ended.code, Some(code), "baton {line}: {}{}", ended.stdout, ended.stderr);
    let message = ended.stderr.trim();
    assert_eq!(message.lines().count(), 1, "baton {line}: {message}");
    assert!(message.starts_with("baton: "), "{message}");
    for word in words {
        assert!(message.contains(word), "baton {line}: no {word:?} in {message}");
    }
}

#[tokio::test]
async fn key_commands_accept_names() {
    let mut system = TestSystem::open().await;
    let made = json_of(&mut system, "key create --name ci --usd-daily 5 --concurrency 3");
    let id = made["id"].as_str().expect("an id").to_owned();
    let set = "key set ci --usd-daily none --usd-monthly 40.5 --model claude-* --expires-at \
               2099-01-01T00:00:00Z";
    run_ok(&mut system, set);
    let key = json_of(&mut system, "key show ci");
    assert_eq!(key["limits"], json!({"usd_monthly": "40.500000000000", "concurrency": 3}));
    assert_eq!((&key["models"], &key["id"]), (&json!(["claude-*"]), &json!(id)));
    run_ok(&mut system, &format!("key set {id} --model none --expires-at none --name other"));
    let key = json_of(&mut system, "key show other");
    assert_eq!((&key["models"], &key["expires_at"]), (&json!([]), &Value::Null));

    let old = TestKey::found(made["secret"].as_str().expect("a secret"), &system.relay_url());
    let rotated = json_of(&mut system, "key rotate other");
    let new = TestKey::found(rotated["secret"].as_str().expect("a secret"), &system.relay_url());
    new.ask("hi").await.ok();
    old.ask("hi").await.refused(401, "authentication_error");

    assert_fails(&mut system, "key remove other", 2, &["--yes", "remove key other"]);
    run_ok(&mut system, "key show other");
    run_ok(&mut system, "key remove other --yes");
    assert_fails(
        &mut system,
        "key show other",
        1,
        &["no key has the name other", "baton key list"],
    );
    assert_fails(&mut system, &format!("key show {id}"), 1, &["does not exist", "list"]);
}

#[tokio::test]
async fn account_and_group_commands_accept_names() {
    let mut system = TestSystem::open().await;
    run_ok(&mut system, "group add --name night --description batch");
    let group = json_of(&mut system, "group show night");
    let set = "account set main --group night --priority 7 --map claude-a=claude-b --max-concurrency \
               4 --cache-domain one --enabled false";
    run_ok(&mut system, set);
    let account = json_of(&mut system, "account show main");
    assert_eq!(account["groups"], json!([group["id"]]));
    assert_eq!((&account["priority"], &account["enabled"]), (&json!(7), &json!(false)));
    assert_eq!(account["model_map"], json!({"claude-a": "claude-b"}));
    run_ok(&mut system, "account set main --max-concurrency none --cache-domain none --map none");
    let account = json_of(&mut system, "account show main");
    let emptied = ["max_concurrency", "cache_domain"].map(|name| account[name].clone());
    assert_eq!((emptied, &account["model_map"]), ([Value::Null, Value::Null], &json!({})));

    run_ok(
        &mut system,
        "account set main --provider openai_compatible --api-key sk-b --speaks-responses true",
    );
    assert_eq!(json_of(&mut system, "account show main")["speaks_responses"], true);
    run_ok(&mut system, "account set main --speaks-responses false");
    assert_eq!(json_of(&mut system, "account show main")["speaks_responses"], false);
    run_ok(&mut system, "group set night --model-alias gpt-*=claude-b --model-alias o1=claude-c");
    let aliases = json_of(&mut system, "group show night")["model_aliases"].take();
    assert_eq!(aliases, json!({"gpt-*": "claude-b", "o1": "claude-c"}));
    assert_fails(&mut system, "group set night --model-alias odd", 2, &["--model-alias", "odd"]);
    assert_fails(&mut system, "account set main --map odd", 2, &["--map", "odd"]);
    run_ok(&mut system, "group set night --model-alias none");
    assert_eq!(json_of(&mut system, "group show night")["model_aliases"], json!({}));
    run_ok(&mut system, "group add --name alias --model-alias a=b");
    assert_eq!(json_of(&mut system, "group show alias")["model_aliases"], json!({"a": "b"}));

    assert_fails(&mut system, "group remove night --yes", 1, &["assign them to other groups"]);
    run_ok(&mut system, "account remove main --yes");
    run_ok(&mut system, "group set night --name day");
    run_ok(&mut system, "group remove day --yes");
    assert_fails(
        &mut system,
        "account set main --priority 1",
        1,
        &["no account has the name main"],
    );
    assert_fails(&mut system, "group set default", 2, &["no setting", "--help"]);
    assert_fails(
        &mut system,
        "key create --name x --group nobody",
        1,
        &["no group has the name nobody"],
    );
    assert_fails(
        &mut system,
        "key create --name x --concurrency few",
        2,
        &["--concurrency", "few"],
    );
}

#[tokio::test]
async fn user_commands_work() {
    let mut system = TestSystem::empty().await;
    let made = json_of(&mut system, "user add --name Ada --email ada@example.com");
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!((&made["role"], &made["enabled"]), (&json!("member"), &json!(true)));
    run_ok(&mut system, "user set Ada --role admin --email none --enabled false");
    let user = json_of(&mut system, "user show Ada");
    assert_eq!((&user["role"], &user["email"]), (&json!("admin"), &Value::Null));
    assert!(run_ok(&mut system, "user list").contains(&id));
    let key = json_of(&mut system, "key create --name ci --user Ada");
    assert_eq!(key["user_id"], json!(id));
    assert_fails(&mut system, "user remove Ada --yes", 1, &["has keys"]);
    run_ok(&mut system, "key set ci --user none");
    run_ok(&mut system, "user remove Ada --yes");
    assert_fails(&mut system, "user set Ada --role member", 1, &["no user has the name Ada"]);
    assert_fails(
        &mut system,
        "user add --name Bob --role king",
        1,
        &["expected `admin` or `member`"],
    );
}

#[tokio::test]
async fn price_commands_work() {
    let mut system = TestSystem::empty().await;
    let rates = "--input 2.50 --output 10 --cache-read 0.25 --cache-write-5m 3 --cache-write-1h 5";
    let made = json_of(&mut system, &format!("price add m-1 --from 2026-12-01 {rates}"));
    assert_eq!(made["effective_from"], "2026-12-01T00:00:00Z");
    assert_eq!((&made["standard"]["input"], &made["source"]), (&json!("2.500000"), &json!("own")));
    run_ok(&mut system, &format!("price add m-1 --from 2027-01-01T12:00:00Z {rates}"));
    assert_fails(
        &mut system,
        &format!("price add m-1 --from 2026-12-01 {rates}"),
        1,
        &["delete that price first"],
    );
    let shown = run_ok(&mut system, "price show m-1");
    assert!(shown.contains("0.250000") && shown.contains("2027-01-01T12:00:00Z"), "{shown}");
    assert!(run_ok(&mut system, "price list").contains("m-1"));
    run_ok(&mut system, "price remove m-1 --from 2026-12-01 --yes");
    assert_eq!(json_of(&mut system, "price show m-1")["data"].as_array().map(Vec::len), Some(1));
    run_ok(&mut system, "price remove m-1 --yes");
    assert_fails(&mut system, "price show m-1", 1, &["does not exist"]);
    assert_fails(&mut system, "price remove claude-opus-4-1 --yes", 1, &["no price is set"]);
}

#[tokio::test]
async fn audit_list_shows_actor_and_action() {
    let mut system = TestSystem::empty().await;
    let group = json_of(&mut system, "group add --name night");
    run_ok(&mut system, "group set night --description late");
    let id = group["id"].as_str().expect("an id");
    let rows = json_of(&mut system, &format!("audit list --target {id}"));
    let changes: Vec<(&Value, &Value)> = rows["data"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (&row["actor"], &row["action"]))
        .collect();
    let token = json!("admin_token");
    assert_eq!(changes, [(&token, &json!("update")), (&token, &json!("create"))]);
    let text = run_ok(&mut system, "audit list --actor admin_token --action create --limit 1");
    assert!(text.contains(id) && text.contains("create"), "{text}");
    assert_eq!(json_of(&mut system, "audit list --actor nobody")["data"], json!([]));
}

#[tokio::test]
async fn name_can_be_used_once() {
    let mut system = TestSystem::open().await;
    let id = system.group("twin").await;
    assert_fails(&mut system, "group add --name twin", 1, &[&id, "twin", "choose another name"]);
}

#[tokio::test]
async fn list_reads_all_pages() {
    let mut system = TestSystem::empty().await;
    for name in 0..1001 {
        system.group(&format!("g{name}")).await;
    }
    let all = json_of(&mut system, "group list");
    let names =
        all["data"].as_array().map(|rows| rows.iter().filter(|row| row["name"] != "default"));
    assert_eq!(names.map(Iterator::count), Some(1001), "a list of more than one page");
    assert_eq!(all["next_cursor"], Value::Null);
}

#[tokio::test]
async fn usage_commands_filter_by_key() {
    let mut system = TestSystem::open().await;
    let (key, other) = (system.key("a").create().await, system.key("b").create().await);
    for text in ["one", "two", "three"] {
        key.ask(text).await.ok();
    }
    other.ask("four").await.ok();
    system.summary_equals(&system.upstream.ledger().total()).await;
    let sums = json_of(&mut system, "usage summary --by key --key a");
    assert_eq!(sums["data"][0]["requests"], 3, "{sums}");
    assert_eq!(sums["data"].as_array().map(Vec::len), Some(1), "{sums}");
    let events = json_of(&mut system, "usage events --key a");
    assert_eq!(events["data"].as_array().map(Vec::len), Some(3), "{events}");
    let id = events["data"][0]["id"].as_str().expect("an id");
    let listed = run_ok(&mut system, "usage events --key a");
    assert!(listed.contains(id), "{listed}");
    let two = run(&mut system, "usage events --limit 2");
    assert!(two.stderr.contains("more rows than the 2"), "{}", two.stderr);
    assert_eq!(two.stdout.matches("claude-opus").count(), 2, "{}", two.stdout);
    let sums = json_of(&mut system, "usage --by day --model no-such-model");
    assert_eq!(sums["data"], json!([]), "`usage` without a subcommand accepts filters");
}

#[tokio::test]
async fn transport_errors_print_one_helpful_line() {
    let mut system = TestSystem::empty().await;
    assert_fails(
        &mut system,
        "key list --token wrong",
        1,
        &["does not accept the admin token", "BATON_ADMIN_TOKEN"],
    );
    let no_admin = "key list --token bt_0123456789ab";
    assert_fails(&mut system, no_admin, 1, &["this is a relay key", "BATON_ADMIN_TOKEN"]);
    assert_fails(
        &mut system,
        "key list --url http://127.0.0.1:1",
        1,
        &["connection refused", "--url"],
    );
    assert_fails(&mut system, "key list --url 127.0.0.1:1", 2, &["is not a URL"]);
    let relay = system.relay_url();
    assert_fails(&mut system, &format!("key list --url {relay}"), 1, &["--url"]);
    let upstream = system.upstream.url();
    assert_fails(&mut system, &format!("key list --url {upstream}"), 1, &["--url"]);
    let ended = system.process().command_with(&[], &["key", "list"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("no admin token"), "{}", ended.stderr);
    assert!(ended.stderr.contains("baton profile add"), "{}", ended.stderr);
}

#[tokio::test]
async fn errors_name_flags() {
    let mut system = TestSystem::open().await;
    for (line, message) in [
        ("key create --name x --usd-daily -1", "--usd-daily: expected 0 or more, or `none`"),
        ("key create --name x --expires-at 2020-01-01T00:00:00Z", "--expires-at: expected a time"),
        ("user add --name x --email nobody", "--email: expected an address"),
        ("alert set --webhook nonsense", "--webhook: "),
        ("alert set --threshold 101", "--threshold: expected at most 10"),
        ("usage events --outcome odd", "--outcome: expected one of `complete`, "),
        ("usage --by shoe", "--by"),
        ("audit list --action foo", "--action: expected one of `create`, "),
        ("account set main --base-url nonsense", "--base-url: "),
        (
            "account set main --base-url http://127.0.0.1:9",
            "use --api-key or --credential in the same command",
        ),
        (
            "price add m --output 1 --cache-read 1 --cache-write-5m 1 --cache-write-1h 1 --input x",
            "--input: expected US dollars",
        ),
    ] {
        assert_fails(&mut system, line, 1, &[message]);
    }
    assert_fails(
        &mut system,
        "usage export --out /no-such-folder/x.csv",
        1,
        &["the folder /no-such-folder does not exist"],
    );
    for (line, message) in [
        ("account set main --weight abc", "expected a whole number"),
        ("audit list --limit abc", "expected a whole number"),
        ("account set main --api-key sk-b --key-header odd", "x-api-key, authorization"),
    ] {
        let ended = run(&mut system, line);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(message), "{}", ended.stderr);
    }
}
