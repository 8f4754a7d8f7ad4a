//! Roles: who can use which route, and what a member sees.

use std::collections::BTreeMap;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{OperatorClient, TestKey, TestSystem};
use serde_json::{Value, json};

/// Every route with the role that it needs. A route that is missing here fails the test.
const MATRIX: [(&str, &str); 63] = [
    ("GET /groups", "admin"),
    ("POST /groups", "admin"),
    ("GET /groups/{group_id}", "admin"),
    ("PATCH /groups/{group_id}", "admin"),
    ("DELETE /groups/{group_id}", "admin"),
    ("GET /accounts", "admin"),
    ("POST /accounts", "admin"),
    ("GET /accounts/{account_id}", "admin"),
    ("PATCH /accounts/{account_id}", "admin"),
    ("DELETE /accounts/{account_id}", "admin"),
    ("POST /accounts/{account_id}/test", "admin"),
    ("POST /accounts/{account_id}/reset", "admin"),
    ("POST /accounts/{account_id}/refresh", "admin"),
    ("POST /oauth/start", "admin"),
    ("POST /oauth/finish", "admin"),
    ("GET /users", "admin"),
    ("POST /users", "admin"),
    ("GET /users/{user_id}", "admin"),
    ("PATCH /users/{user_id}", "admin"),
    ("DELETE /users/{user_id}", "admin"),
    ("GET /keys", "member"),
    ("POST /keys", "admin"),
    ("GET /keys/{key_id}", "member"),
    ("PATCH /keys/{key_id}", "member"),
    ("DELETE /keys/{key_id}", "admin"),
    ("POST /keys/{key_id}/rotate", "member"),
    ("GET /limits/organization", "admin"),
    ("PUT /limits/organization", "admin"),
    ("GET /limits/message", "admin"),
    ("PUT /limits/message", "admin"),
    ("GET /organizations/spend_limits", "admin"),
    ("POST /organizations/spend_limits", "admin"),
    ("GET /organizations/spend_limits/effective", "admin"),
    ("GET /organizations/spend_limits/audit", "admin"),
    ("GET /organizations/spend_limits/{spend_limit_id}", "admin"),
    ("DELETE /organizations/spend_limits/{spend_limit_id}", "admin"),
    ("GET /models", "admin"),
    ("GET /models/{model}", "admin"),
    ("GET /prices", "admin"),
    ("POST /prices", "admin"),
    ("GET /prices/{model}", "admin"),
    ("DELETE /prices/{model}", "admin"),
    ("POST /prices/rerate", "admin"),
    ("GET /alerts", "admin"),
    ("PUT /alerts", "admin"),
    ("POST /alerts/test", "admin"),
    ("GET /settings", "admin"),
    ("PATCH /settings", "admin"),
    ("GET /overview", "admin"),
    ("GET /usage/summary", "member"),
    ("GET /usage/events", "member"),
    ("GET /usage/export", "member"),
    ("GET /usage/dead-letters", "admin"),
    ("POST /usage/redrive", "admin"),
    ("GET /audit", "admin"),
    ("GET /openapi.json", "anybody"),
    // Unknown routes need the admin role.
    ("GET /nothing", "admin"),
    ("POST /nothing", "admin"),
    ("PUT /keys", "admin"),
    // The same routes under the names of Anthropic's Admin API.
    ("GET /v1/organizations/spend_limits", "admin"),
    ("POST /v1/organizations/spend_limits", "admin"),
    ("GET /v1/organizations/spend_limits/effective", "admin"),
    ("DELETE /v1/organizations/spend_limits/{spend_limit_id}", "admin"),
];

async fn user(system: &TestSystem, name: &str, role: &str) -> (String, TestKey) {
    let id = system.admin().create("/users", &json!({"name": name, "role": role})).await;
    let key = system.key(name).with("user_id", id.as_str()).create().await;
    (id, key)
}

fn described(document: &Value) -> BTreeMap<String, String> {
    let mut routes = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let path = path.strip_prefix("/api/v1").expect("the base");
        for (method, operation) in methods.as_object().expect("methods") {
            let access = operation["x-baton-access"].as_str().expect("an access");
            routes.insert(format!("{} {path}", method.to_uppercase()), access.to_owned());
        }
    }
    routes
}

#[tokio::test]
async fn every_route_requires_its_role() {
    let system = TestSystem::empty().await;
    let (_, member) = user(&system, "member", "member").await;
    let (_, admin) = user(&system, "admin", "admin").await;
    let document = system.admin().with_token("").get("/openapi.json").await.ok().json();
    let rows = MATRIX
        .iter()
        .filter(|(route, _)| !route.ends_with("/nothing") && *route != "PUT /keys")
        .filter(|(route, _)| !route.contains(" /v1/"));
    let rows: BTreeMap<String, String> =
        rows.map(|(route, access)| ((*route).to_owned(), (*access).to_owned())).collect();
    assert_eq!(described(&document), rows, "the table and the description list different routes");

    let ids = [
        ("{group_id}", "grp_0"),
        ("{account_id}", "acc_0"),
        ("{user_id}", "usr_0"),
        ("{key_id}", "key_0"),
        ("{model}", "m"),
        ("{spend_limit_id}", "spl_0"),
    ];
    for (route, access) in MATRIX {
        let (method, path) = route.split_once(' ').expect("method and path");
        let path = ids.iter().fold(path.to_owned(), |path, (name, id)| path.replace(name, id));
        let ask = async |token: &str| {
            system.admin().with_token(token).send(method, &path, &json!({})).await
        };
        let anonymous = ask("").await;
        if access == "anybody" {
            anonymous.ok();
        } else {
            anonymous.refused(401, "authentication_error");
        }
        // A relay key has the rights of a member, whoever owns it.
        for key in [&member, &admin] {
            let answer = ask(&key.secret).await;
            if access == "admin" {
                answer.refused(403, "permission_error");
            } else {
                assert!(![401, 403].contains(&answer.status), "{route}: {}", answer.text());
            }
        }
        let answer = ask("test-admin-token-0123456789abcdef").await;
        assert!(![401, 403].contains(&answer.status), "{route}: {}", answer.text());
    }
}

#[tokio::test]
async fn member_can_change_only_its_own_keys() {
    let system = TestSystem::empty().await;
    let (ada, key) = user(&system, "Ada", "member").await;
    let (bob, other) = user(&system, "Bob", "member").await;
    let admin = system.admin().with_token(&key.secret);
    let listed = admin.get("/keys").await.ok().json();
    let ids: Vec<&Value> =
        listed["data"].as_array().expect("data").iter().map(|k| &k["id"]).collect();
    assert_eq!(ids, [&json!(key.id)]);
    admin.get(&format!("/keys?user_id={bob}")).await.refused(403, "permission_error");
    let (own, foreign) = (format!("/keys/{}", key.id), format!("/keys/{}", other.id));
    admin.get(&own).await.ok();
    admin.get(&foreign).await.refused(404, "not_found_error");
    admin.patch(&foreign, &json!({"enabled": false})).await.refused(404, "not_found_error");
    admin.post(&format!("{foreign}/rotate"), &json!({})).await.refused(404, "not_found_error");
    admin.patch(&own, &json!({"name": "Ada's"})).await.ok();
    for more in [
        json!({"limits": {}}),
        json!({"estimate": "expected"}),
        json!({"enabled": true}),
        json!({"user_id": bob}),
        json!({"user_id": null}),
        json!({"group_id": "grp_default"}),
        json!({"models": []}),
        json!({"expires_at": null}),
    ] {
        admin.patch(&own, &more).await.refused(403, "permission_error");
    }
    let rotated = admin.post(&format!("{own}/rotate"), &json!({})).await.ok().json();
    admin.get("/keys").await.refused(401, "authentication_error");
    let admin = system.admin().with_token(rotated["secret"].as_str().expect("a secret"));
    admin.patch(&own, &json!({"enabled": false})).await.ok();
    admin.get("/keys").await.refused(401, "authentication_error");
    let rows = system.admin().get(&format!("/audit?actor={ada}")).await.ok().json();
    let actions: Vec<&Value> =
        rows["data"].as_array().expect("data").iter().map(|row| &row["action"]).collect();
    assert_eq!(actions, ["update", "rotate", "update"], "{rows}");
}

#[tokio::test]
async fn member_sees_only_its_own_usage() {
    let system = TestSystem::open().await;
    let (ada, key) = user(&system, "Ada", "member").await;
    let (bob, other) = user(&system, "Bob", "member").await;
    for (key, times) in [(&key, 1), (&other, 2)] {
        for _ in 0..times {
            key.ask("hi").await.ok();
        }
        system.events_of(key, times).await;
    }
    let admin = system.admin().with_token(&key.secret);
    let summary = admin.get("/usage/summary?by=user").await.ok().json();
    assert_eq!(summary["data"].as_array().map(Vec::len), Some(1), "{summary}");
    assert_eq!(
        (&summary["data"][0]["group"]["user"], &summary["data"][0]["requests"]),
        (&json!(ada), &json!(1))
    );
    let events = admin.get("/usage/events").await.ok().json();
    assert_eq!(events["data"].as_array().map(Vec::len), Some(1), "{events}");
    let foreign = admin.get(&format!("/usage/events?key_id={}", other.id)).await.ok().json();
    assert_eq!(foreign["data"], json!([]));
    admin.get(&format!("/usage/summary?user={bob}")).await.refused(403, "permission_error");
    admin.get(&format!("/usage/events?user_id={bob}")).await.refused(403, "permission_error");
}

#[tokio::test]
async fn revoked_rights_take_effect() {
    let system = TestSystem::empty().await;
    let (id, key) = user(&system, "Ada", "admin").await;
    let token = system.admin();
    let ada = token.with_token(&key.secret);
    let user = format!("/users/{id}");
    ada.get("/groups").await.refused(403, "permission_error");
    ada.get("/keys").await.ok();
    token.patch("/settings", &json!({"member_access": false})).await.ok();
    ada.get("/keys").await.refused(403, "permission_error");
    token.patch("/settings", &json!({"member_access": true})).await.ok();
    token.patch(&user, &json!({"enabled": false})).await.ok();
    ada.get("/keys").await.refused(401, "authentication_error");
    token.patch(&user, &json!({"enabled": true})).await.ok();
    ada.get("/keys").await.ok();
    token.patch(&format!("/keys/{}", key.id), &json!({"user_id": null})).await.ok();
    ada.get("/keys").await.refused(401, "authentication_error");
}

#[tokio::test]
async fn wrong_tokens_get_429_and_valid_ones_do_not() {
    let system = TestSystem::empty().await;
    let guess =
        async |n: usize| system.admin().with_token(&format!("guess-{n}")).get("/keys").await;
    system.admin().get("/keys").await.ok();
    let mut statuses = Vec::new();
    for n in 0..150 {
        let answer = guess(n).await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some());
            answer.clone().refused(429, "rate_limit_error");
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses[0], 401);
    assert!(statuses.contains(&429), "{statuses:?}");
    system.admin().get("/keys").await.ok();
}

#[tokio::test]
async fn relay_key_can_change_only_itself() {
    let system = TestSystem::open().await;
    let (ada, wide) = user(&system, "Ada", "admin").await;
    let narrow = system.key("ci of Ada").with("user_id", ada.as_str());
    let narrow = narrow.with("models", json!(["claude-haiku-*"])).create().await;
    let admin = system.admin().with_token(&narrow.secret);
    let (own, other) = (format!("/keys/{}", narrow.id), format!("/keys/{}", wide.id));
    admin.get(&other).await.ok();
    for change in [json!({"name": "stolen"}), json!({"enabled": false}), json!({})] {
        admin.patch(&other, &change).await.refused(403, "permission_error");
    }
    let rotate = format!("{other}/rotate");
    admin.post(&rotate, &json!({})).await.refused(403, "permission_error");
    wide.ask("hi").await.ok();
    admin.patch(&own, &json!({"name": "ci of Ada, renamed"})).await.ok();
    // Another key of the same user does not get the stored response of this one.
    let again = async |secret: &str| {
        let request = system.admin().with_token(secret).request("POST", &format!("{own}/rotate"));
        ClientResponse::to(request.header("idempotency-key", "once").body("")).await
    };
    let rotated = again(&narrow.secret).await.ok().json();
    let secret = rotated["secret"].as_str().expect("a secret");
    again(&wide.secret).await.refused(403, "permission_error");
    again(secret).await.ok();
}

#[tokio::test]
async fn disabled_user_keys_get_401() {
    let system = TestSystem::open().await;
    let (ada, key) = user(&system, "Ada", "member").await;
    let (_, other) = user(&system, "Bob", "member").await;
    key.ask("hi").await.ok();
    let path = format!("/users/{ada}");
    system.admin().patch(&path, &json!({"enabled": false})).await.ok();
    let refused = key.ask("hi").await.refused(401, "authentication_error");
    assert!(refused.message().contains("disabled"), "{}", refused.message());
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    other.ask("hi").await.ok();
    system.admin().patch(&path, &json!({"enabled": true})).await.ok();
    key.ask("hi").await.ok();
}

#[tokio::test]
async fn settings_have_versions_and_audit_rows() {
    let system = TestSystem::empty().await;
    let admin: OperatorClient = system.admin();
    let read = admin.get("/settings").await.ok();
    assert_eq!((read.header("etag"), &read.json()["member_access"]), (Some("\"0\""), &json!(true)));
    let changed = admin.patch("/settings", &json!({"member_access": false})).await.ok();
    assert_eq!(
        (changed.header("etag"), &changed.json()["member_access"]),
        (Some("\"1\""), &json!(false))
    );
    assert_eq!(admin.get("/settings").await.ok().json(), changed.json());
    admin.patch("/settings", &json!({"shoe": 46})).await.refused(400, "invalid_request_error");
    let rows = admin.get("/audit?target=settings").await.ok().json();
    assert_eq!(rows["data"][0]["before"]["member_access"], true, "{rows}");
}
