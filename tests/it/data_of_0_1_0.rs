//! A data folder of version 0.1.0 can be opened, and everything in it works.

use baton_test_harness::fixtures;
use baton_test_harness::system::{OperatorClient, TestKey, TestSystem};
use serde_json::Value;
use std::path::Path;

fn fixture() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/data-0.1.0"))
}

/// Copies the folder with the permissions that Baton requires.
fn copy_folder(to: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(fixture().join("folder")).expect("the fixture") {
        let entry = entry.expect("an entry");
        let copy = to.join(entry.file_name());
        std::fs::copy(entry.path(), &copy).expect("a copy");
        std::fs::set_permissions(copy, std::fs::Permissions::from_mode(0o600)).expect("rights");
    }
}

async fn names(admin: &OperatorClient, path: &str) -> Vec<String> {
    let list = admin.get(path).await.ok().json();
    let rows = list["data"].as_array().expect("a list").clone();
    let mut names: Vec<String> =
        rows.iter().filter_map(|row| row["name"].as_str().map(str::to_owned)).collect();
    names.sort();
    names
}

#[tokio::test]
async fn data_folder_of_0_1_0_works() {
    let text = std::fs::read_to_string(fixture().join("expected.json")).expect("the fixture");
    let expected: Value = serde_json::from_str(&text).expect("JSON");
    let launch = TestSystem::builder();
    let data = launch.home().join("data");
    copy_folder(&data);
    let token = expected["admin_token"].as_str().expect("a token");
    let system = launch.env("BATON_ADMIN_TOKEN", token).start().await;
    let admin = system.admin().with_token(token);

    for (id, secret) in expected["keys"].as_object().expect("keys") {
        let key = TestKey::found(secret.as_str().expect("a secret"), &system.relay_url());
        let shown = admin.get(&format!("/keys/{id}")).await.ok().json();
        let status = if shown["enabled"] == true { 200 } else { 401 };
        assert_eq!(key.get("/v1/usage").await.status, status, "{shown}");
    }
    let groups: Vec<String> = fixtures::texts(&expected["groups"]);
    assert_eq!(names(&admin, "/groups").await, groups);
    assert_eq!(names(&admin, "/users").await, fixtures::texts(&expected["users"]));
    let keys = names(&admin, "/keys").await;
    assert_eq!(keys.iter().filter(|name| *name == "laptop").count(), 2, "{keys:?}");

    let accounts = admin.get("/accounts").await.ok().json();
    for account in accounts["data"].as_array().expect("accounts") {
        let name = account["name"].as_str().expect("a name");
        assert!(expected["accounts"].get(name).is_some(), "{account}");
        assert!(account["status"].is_string(), "{account}");
    }
    let summary = admin.get("/usage/summary?by=key").await.ok().json();
    for row in expected["summary_by_key"].as_array().expect("sums") {
        let key = &row["group"]["key"];
        let rows = summary["data"].as_array().expect("rows");
        let now = rows.iter().find(|one| one["group"]["key"] == *key).expect("the key's row");
        // Usage that was not yet in the queue can be stored by now.
        let (before, after) = (&row["requests"], &now["requests"]);
        assert!(after.as_u64() >= before.as_u64(), "{row} {now}");
    }
    let events = admin.get("/usage/events?limit=200").await.ok().json();
    let count = events["data"].as_array().expect("events").len() as u64;
    assert!(count >= expected["events"].as_u64().expect("a number"), "{count}");
    for path in ["/audit", "/prices/house-model", "/alerts", "/overview"] {
        admin.get(path).await.ok();
    }
    for path in ["/organizations/spend_limits", "/limits/organization", "/limits/message"] {
        admin.get(path).await.ok();
    }
}
