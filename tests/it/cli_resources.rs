//! The operator's commands by resource: added, shown, changed and removed, by id and by name.

use baton_tests::house::{TestKey, TestSystem};
use baton_tests::program::ProgramResult;
use serde_json::{Value, json};

fn run(house: &mut TestSystem, line: &str) -> ProgramResult {
    let arguments: Vec<&str> = line.split_whitespace().collect();
    house.process().command(&arguments)
}

#[track_caller]
fn done(house: &mut TestSystem, line: &str) -> String {
    let ended = run(house, line);
    assert_eq!(ended.code, Some(0), "baton {line}: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

#[track_caller]
fn json_of(house: &mut TestSystem, line: &str) -> Value {
    let text = done(house, &format!("{line} --json"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
}

/// It fails with this code and one line that says all of `words`.
#[track_caller]
fn fails(house: &mut TestSystem, line: &str, code: i32, words: &[&str]) {
    let ended = run(house, line);
    assert_eq!(ended.code, Some(code), "baton {line}: {}{}", ended.stdout, ended.stderr);
    let said = ended.stderr.trim();
    assert_eq!(said.lines().count(), 1, "baton {line}: {said}");
    assert!(said.starts_with("baton: "), "{said}");
    for word in words {
        assert!(said.contains(word), "baton {line}: no {word:?} in {said}");
    }
}

#[tokio::test]
async fn a_key_is_shown_changed_rotated_and_removed_by_its_name() {
    let mut house = TestSystem::open().await;
    let made = json_of(&mut house, "key create --name ci --usd-daily 5 --concurrency 3");
    let id = made["id"].as_str().expect("an id").to_owned();
    let set = "key set ci --usd-daily none --usd-monthly 40.5 --model claude-* --expires-at \
               2099-01-01T00:00:00Z";
    done(&mut house, set);
    let key = json_of(&mut house, "key show ci");
    assert_eq!(key["limits"], json!({"usd_monthly": "40.500000000000", "concurrency": 3}));
    assert_eq!((&key["models"], &key["id"]), (&json!(["claude-*"]), &json!(id)));
    done(&mut house, &format!("key set {id} --model none --expires-at none --name other"));
    let key = json_of(&mut house, "key show other");
    assert_eq!((&key["models"], &key["expires_at"]), (&json!([]), &Value::Null));

    let old = TestKey::found(made["secret"].as_str().expect("a secret"), &house.relay_url());
    let rotated = json_of(&mut house, "key rotate other");
    let new = TestKey::found(rotated["secret"].as_str().expect("a secret"), &house.relay_url());
    new.ask("hi").await.ok();
    old.ask("hi").await.refused(401, "authentication_error");

    fails(&mut house, "key remove other", 2, &["--yes", "remove key other"]);
    done(&mut house, "key show other");
    done(&mut house, "key remove other --yes");
    fails(&mut house, "key show other", 1, &["no key has the name other", "baton key list"]);
    fails(&mut house, &format!("key show {id}"), 1, &["does not exist", "list"]);
}

#[tokio::test]
async fn an_account_and_a_group_are_changed_by_their_names() {
    let mut house = TestSystem::open().await;
    done(&mut house, "group add --name night --description batch");
    let group = json_of(&mut house, "group show night");
    let set = "account set main --group night --priority 7 --map claude-a=claude-b --max-concurrency \
               4 --cache-domain one --enabled false";
    done(&mut house, set);
    let account = json_of(&mut house, "account show main");
    assert_eq!(account["groups"], json!([group["id"]]));
    assert_eq!((&account["priority"], &account["enabled"]), (&json!(7), &json!(false)));
    assert_eq!(account["model_map"], json!({"claude-a": "claude-b"}));
    done(&mut house, "account set main --max-concurrency none --cache-domain none --map none");
    let account = json_of(&mut house, "account show main");
    let emptied = ["max_concurrency", "cache_domain"].map(|name| account[name].clone());
    assert_eq!((emptied, &account["model_map"]), ([Value::Null, Value::Null], &json!({})));

    done(
        &mut house,
        "account set main --provider openai_compatible --api-key sk-b --speaks-responses true",
    );
    assert_eq!(json_of(&mut house, "account show main")["speaks_responses"], true);
    done(&mut house, "account set main --speaks-responses false");
    assert_eq!(json_of(&mut house, "account show main")["speaks_responses"], false);
    done(&mut house, "group set night --model-alias gpt-*=claude-b --model-alias o1=claude-c");
    let aliases = json_of(&mut house, "group show night")["model_aliases"].take();
    assert_eq!(aliases, json!({"gpt-*": "claude-b", "o1": "claude-c"}));
    fails(&mut house, "group set night --model-alias odd", 2, &["--model-alias", "odd"]);
    fails(&mut house, "account set main --map odd", 2, &["--map", "odd"]);
    done(&mut house, "group set night --model-alias none");
    assert_eq!(json_of(&mut house, "group show night")["model_aliases"], json!({}));
    done(&mut house, "group add --name alias --model-alias a=b");
    assert_eq!(json_of(&mut house, "group show alias")["model_aliases"], json!({"a": "b"}));

    fails(&mut house, "group remove night --yes", 1, &["from the group"]);
    done(&mut house, "account remove main --yes");
    done(&mut house, "group set night --name day");
    done(&mut house, "group remove day --yes");
    fails(&mut house, "account set main --priority 1", 1, &["no account has the name main"]);
    fails(&mut house, "group set default", 2, &["no setting", "--help"]);
    fails(&mut house, "key create --name x --group nobody", 1, &["no group has the name nobody"]);
    fails(&mut house, "key create --name x --concurrency few", 2, &["--concurrency", "few"]);
}

#[tokio::test]
async fn a_user_is_added_changed_given_a_key_and_removed() {
    let mut house = TestSystem::empty().await;
    let made = json_of(&mut house, "user add --name Ada --email ada@example.com");
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!((&made["role"], &made["enabled"]), (&json!("member"), &json!(true)));
    done(&mut house, "user set Ada --role admin --email none --enabled false");
    let user = json_of(&mut house, "user show Ada");
    assert_eq!((&user["role"], &user["email"]), (&json!("admin"), &Value::Null));
    assert!(done(&mut house, "user list").contains(&id));
    let key = json_of(&mut house, "key create --name ci --user Ada");
    assert_eq!(key["user_id"], json!(id));
    fails(&mut house, "user remove Ada --yes", 1, &["has keys"]);
    done(&mut house, "key set ci --user none");
    done(&mut house, "user remove Ada --yes");
    fails(&mut house, "user set Ada --role member", 1, &["no user has the name Ada"]);
    fails(&mut house, "user add --name Bob --role king", 1, &["expected `admin` or `member`"]);
}

#[tokio::test]
async fn a_price_is_set_shown_and_removed() {
    let mut house = TestSystem::empty().await;
    let rates = "--input 2.50 --output 10 --cache-read 0.25 --cache-write-5m 3 --cache-write-1h 5";
    let made = json_of(&mut house, &format!("price add m-1 --from 2026-12-01 {rates}"));
    assert_eq!(made["effective_from"], "2026-12-01T00:00:00Z");
    assert_eq!((&made["standard"]["input"], &made["source"]), (&json!("2.500000"), &json!("own")));
    done(&mut house, &format!("price add m-1 --from 2027-01-01T12:00:00Z {rates}"));
    fails(
        &mut house,
        &format!("price add m-1 --from 2026-12-01 {rates}"),
        1,
        &["delete that price first"],
    );
    let shown = done(&mut house, "price show m-1");
    assert!(shown.contains("0.250000") && shown.contains("2027-01-01T12:00:00Z"), "{shown}");
    assert!(done(&mut house, "price list").contains("m-1"));
    done(&mut house, "price remove m-1 --from 2026-12-01 --yes");
    assert_eq!(json_of(&mut house, "price show m-1")["data"].as_array().map(Vec::len), Some(1));
    done(&mut house, "price remove m-1 --yes");
    fails(&mut house, "price show m-1", 1, &["does not exist"]);
    fails(&mut house, "price remove claude-opus-4-1 --yes", 1, &["no price is set"]);
}

#[tokio::test]
async fn the_audit_trail_says_who_did_what() {
    let mut house = TestSystem::empty().await;
    let group = json_of(&mut house, "group add --name night");
    done(&mut house, "group set night --description late");
    let id = group["id"].as_str().expect("an id");
    let rows = json_of(&mut house, &format!("audit list --target {id}"));
    let told: Vec<(&Value, &Value)> = rows["data"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (&row["actor"], &row["action"]))
        .collect();
    let token = json!("admin_token");
    assert_eq!(told, [(&token, &json!("update")), (&token, &json!("create"))]);
    let text = done(&mut house, "audit list --actor admin_token --action create --limit 1");
    assert!(text.contains(id) && text.contains("create"), "{text}");
    assert_eq!(json_of(&mut house, "audit list --actor nobody")["data"], json!([]));
}

#[tokio::test]
async fn a_name_means_one_thing() {
    let mut house = TestSystem::open().await;
    let id = house.group("twin").await;
    fails(&mut house, "group add --name twin", 1, &[&id, "twin", "choose another name"]);
}

#[tokio::test]
async fn a_list_follows_its_cursors_to_the_end() {
    let mut house = TestSystem::empty().await;
    for name in 0..1001 {
        house.group(&format!("g{name}")).await;
    }
    let all = json_of(&mut house, "group list");
    let names =
        all["data"].as_array().map(|rows| rows.iter().filter(|row| row["name"] != "default"));
    assert_eq!(names.map(Iterator::count), Some(1001), "more than one page holds");
    assert_eq!(all["next_cursor"], Value::Null);
}

#[tokio::test]
async fn usage_is_summed_up_and_listed_for_one_key() {
    let mut house = TestSystem::open().await;
    let (key, other) = (house.key("a").create().await, house.key("b").create().await);
    for text in ["one", "two", "three"] {
        key.ask(text).await.ok();
    }
    other.ask("four").await.ok();
    house.summary_equals(&house.upstream.ledger().total()).await;
    let sums = json_of(&mut house, "usage summary --by key --key a");
    assert_eq!(sums["data"][0]["requests"], 3, "{sums}");
    assert_eq!(sums["data"].as_array().map(Vec::len), Some(1), "{sums}");
    let events = json_of(&mut house, "usage events --key a");
    assert_eq!(events["data"].as_array().map(Vec::len), Some(3), "{events}");
    let two = run(&mut house, "usage events --limit 2");
    assert!(two.stderr.contains("more than 2"), "{}", two.stderr);
    assert_eq!(two.stdout.matches("claude-opus").count(), 2, "{}", two.stdout);
    let sums = json_of(&mut house, "usage --by day --model no-such-model");
    assert_eq!(sums["data"], json!([]), "the short form takes filters, too");
}

#[tokio::test]
async fn transport_errors_print_one_helpful_line() {
    let mut house = TestSystem::empty().await;
    fails(
        &mut house,
        "key list --token wrong",
        1,
        &["does not accept the admin token", "BATON_ADMIN_TOKEN"],
    );
    fails(&mut house, "key list --url http://127.0.0.1:1", 1, &["connection refused", "--url"]);
    fails(&mut house, "key list --url 127.0.0.1:1", 2, &["is not a URL"]);
    let relay = house.relay_url();
    fails(&mut house, &format!("key list --url {relay}"), 1, &["--url"]);
    let upstream = house.upstream.url();
    fails(&mut house, &format!("key list --url {upstream}"), 1, &["--url"]);
    let ended = house.process().command_with(&[], &["key", "list"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("no admin token"), "{}", ended.stderr);
    assert!(ended.stderr.contains("baton profile add"), "{}", ended.stderr);
}
