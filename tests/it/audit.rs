//! The audit trail: every change has a row with its actor and the values before and after, and
//! without secrets.

use baton_test_harness::system::{OperatorClient, TestSystem};
use serde_json::{Value, json};

async fn trail(admin: &OperatorClient, query: &str) -> Vec<Value> {
    let body = admin.get(&format!("/audit?{query}")).await.ok().json();
    body["data"].as_array().unwrap_or_else(|| panic!("no data: {body}")).clone()
}

fn actions_and_targets(rows: &[Value]) -> Vec<String> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    rows.iter().map(|row| format!("{} {}", text(row, "action"), text(row, "target"))).collect()
}

#[tokio::test]
async fn every_change_has_a_row_without_secrets() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    let group = system.group("team").await;
    let account = system.account("main", &system.upstream.url()).await;
    let key = system.key("ci").create().await;
    let user = admin.create("/users", &json!({"name": "Ada"})).await;
    let mut expected = vec![
        format!("create {group}"),
        format!("create {account}"),
        format!("create {}", key.id),
        format!("create {user}"),
    ];
    let credential = json!({"type": "api_key", "value": "sk-upstream-second"});
    for (path, change) in [
        (format!("/groups/{group}"), json!({"description": "new"})),
        (format!("/accounts/{account}"), json!({"credential": credential, "priority": 3})),
        (format!("/keys/{}", key.id), json!({"enabled": false})),
        (format!("/users/{user}"), json!({"role": "admin"})),
    ] {
        admin.patch(&path, &change).await.ok();
        expected.push(format!("update {}", path.rsplit('/').next().unwrap_or_default()));
    }
    let rotated = admin.post(&format!("/keys/{}/rotate", key.id), &json!({})).await.ok().json();
    admin.post(&format!("/accounts/{account}/reset"), &json!({})).await.ok();
    expected.extend([format!("rotate {}", key.id), format!("reset {account}")]);
    let paths = [("keys", &key.id), ("users", &user), ("accounts", &account), ("groups", &group)];
    for (path, id) in paths {
        admin.delete(&format!("/{path}/{id}")).await.status(204);
        expected.push(format!("delete {id}"));
    }
    expected.reverse();

    let rows = trail(&admin, "actor=admin_token&limit=1000").await;
    assert_eq!(actions_and_targets(&rows), expected, "newest first");
    let text = Value::from(rows.clone()).to_string();
    for secret in ["sk-upstream", &key.secret, rotated["secret"].as_str().expect("a secret")] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let changed = &trail(&admin, &format!("target={account}&action=update")).await[0];
    assert_eq!(
        (&changed["before"]["priority"], &changed["after"]["priority"]),
        (&100.into(), &3.into())
    );
    assert_eq!(changed["after"]["credential_changed"], true, "{changed}");
    let created = &trail(&admin, &format!("target={group}&action=create")).await[0];
    assert_eq!((&created["before"], &created["after"]["name"]), (&Value::Null, &json!("team")));
    let own = trail(&admin, "actor=baton").await;
    assert!(
        own.iter().any(|row| row["target"] == "grp_default"),
        "the first start has no row: {own:?}"
    );
}

#[tokio::test]
async fn refused_changes_leave_no_audit_row() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    let before = trail(&admin, "").await.len();
    admin.post("/groups", &json!({"name": ""})).await.refused(400, "invalid_request_error");
    admin.patch("/groups/grp_none", &json!({})).await.refused(404, "not_found_error");
    assert_eq!(trail(&admin, "").await.len(), before);
}

#[tokio::test]
async fn audit_trail_has_pages_and_time_filters() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    for n in 0..7 {
        system.group(&format!("group-{n}")).await;
    }
    let all = actions_and_targets(&trail(&admin, "").await);
    let (mut seen, mut path) = (Vec::new(), "/audit?limit=3".to_owned());
    loop {
        let page = admin.get(&path).await.ok().json();
        seen.extend(actions_and_targets(page["data"].as_array().expect("data")));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        assert!(seen.len() <= all.len(), "the cursor repeats pages");
        path = format!("/audit?limit=3&cursor={cursor}");
    }
    assert_eq!(seen, all);
    assert!(trail(&admin, "to=2020-01-01").await.is_empty());
    admin.get("/audit?from=2026-02-01&to=2026-01-01").await.refused(400, "invalid_request_error");
    let foreign = admin.get("/groups?limit=1").await.ok().json();
    let foreign = foreign["next_cursor"].as_str().expect("a cursor");
    for path in ["/audit", "/usage/events", "/keys"] {
        let answer = admin.get(&format!("{path}?cursor={foreign}")).await;
        answer.refused(400, "invalid_request_error");
    }
}
