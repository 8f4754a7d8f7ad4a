//! `baton alert`: where operators are told, from the command line.

use std::time::Duration;

use baton_refresh::alerts::send_alerts;
use baton_tests::house::bare_command;
use baton_tests::in_process_admin::InProcessAdmin;
use baton_tests::program::{Program, ProgramResult};
use serde_json::{Value, json};

/// A command of `baton` with this on its standard input.
fn run(office: &InProcessAdmin, arguments: &[&str], said: &str) -> ProgramResult {
    let home = tempfile::TempDir::new().expect("a home");
    let mut command = bare_command(home.path());
    command.env("BATON_URL", &office.admin_url).env("BATON_ADMIN_TOKEN", InProcessAdmin::TOKEN);
    Program::fed(command.args(arguments), said, Duration::from_secs(30))
}

fn alert(office: &InProcessAdmin, arguments: &[&str], said: &str) -> ProgramResult {
    run(office, &[&["alert"], arguments].concat(), said)
}

fn shown(office: &InProcessAdmin) -> Value {
    serde_json::from_str(&alert(office, &["show", "--json"], "").stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_named_stays_as_it_is() {
    let office = InProcessAdmin::open().await;
    assert_eq!(shown(&office)["thresholds"], json!([50, 80, 95, 100]));
    let address = "https://hooks.example.com/services/very-secret";
    let set = alert(&office, &["set", "--webhook", "-", "--form", "slack"], address);
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    assert!(set.stdout.contains("hooks.example.com (slack)"), "{}", set.stdout);
    assert!(set.stdout.contains("shown only once") && !set.stdout.contains("very-secret"));
    let set = alert(&office, &["set", "--threshold", "90", "--threshold", "70%"], "");
    assert!(set.stdout.contains("70, 90 %"), "{}", set.stdout);
    assert!(!set.stdout.contains("shown only once"), "{}", set.stdout);
    let now = shown(&office);
    assert_eq!((&now["form"], &now["version"]), (&json!("slack"), &json!(2)));
    assert_eq!(now["url_host"], "hooks.example.com");
    for bad in [&["set"][..], &["set", "--threshold", "half"], &["set", "--sns-topic", "a b"]] {
        let ended = alert(&office, bad, "");
        assert!(ended.code > Some(0) && ended.stderr.lines().count() < 8, "{}", ended.stderr);
    }
    let signed = alert(&office, &["set", "--signing-secret"], "a-secret-of-our-own-choice\n");
    assert_eq!(signed.code, Some(0), "{}", signed.stderr);
    assert!(!signed.stdout.contains("a-secret-of-our-own-choice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_says_why_nothing_arrives() {
    let office = InProcessAdmin::open().await;
    let ended = alert(&office, &["test"], "");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("nowhere to send it"), "{}", ended.stderr);
    let nobody = alert(&office, &["set", "--webhook", "http://127.0.0.1:9/hook"], "");
    assert_eq!(nobody.code, Some(0), "{}", nobody.stderr);
    let (store, herald) = (office.store.clone(), office.herald.clone());
    let telling = tokio::spawn(async move {
        while send_alerts(&store, &herald, "test").await.is_ok_and(|told| told.failed == 0) {
            tokio::task::yield_now().await;
        }
    });
    let ended = tokio::task::block_in_place(|| alert(&office, &["test"], ""));
    telling.await.expect("it has failed once");
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    let said = &ended.stderr;
    assert!(said.contains("webhook: ") && said.contains("tries again"), "{said}");
    assert!(!said.contains("/hook"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_may_have_as_many_lines_as_its_file() {
    let office = InProcessAdmin::open().await;
    let credential = "{\n \"type\": \"api_key\",\n \"value\": \"sk-piped\"\n}\n";
    let arguments = ["account", "add", "--name", "piped", "--credential", "-"];
    let ended = run(&office, &arguments, credential);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
