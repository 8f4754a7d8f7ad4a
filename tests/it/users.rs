//! Users, and the filters of all lists.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::TestSystem;
use serde_json::{Value, json};

#[tokio::test]
async fn users_have_full_life_cycle() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    let ada = json!({"name": " Ada ", "email": "ada@example.com"});
    let ada = admin.post("/users", &ada).await.status(201).json();
    assert!(ada["id"].as_str().is_some_and(|id| id.starts_with("usr_")), "{ada}");
    assert_eq!(
        (&ada["name"], &ada["role"], &ada["enabled"]),
        (&json!("Ada"), &json!("member"), &json!(true))
    );
    let path = format!("/users/{}", ada["id"].as_str().expect("an id"));
    let change = json!({"role": "admin", "email": null, "enabled": false});
    let changed = admin.patch(&path, &change).await.ok().json();
    assert_eq!(admin.get(&path).await.ok().json(), changed);
    assert_eq!((&changed["role"], &changed["email"]), (&json!("admin"), &Value::Null));
    for bad in [
        json!({}),
        json!({"name": ""}),
        json!({"name": "x", "email": "nobody"}),
        json!({"name": "x", "email": "ü@x.example"}),
        json!({"name": "x", "email": "a@ü.example"}),
        json!({"name": "x", "role": "king"}),
        json!({"name": "x", "shoe": 46}),
    ] {
        admin.post("/users", &bad).await.refused(400, "invalid_request_error");
    }
    let key = system.key("ci").with("user_id", ada["id"].clone()).create().await;
    admin.delete(&path).await.refused(409, "conflict_error");
    admin.delete(&format!("/keys/{}", key.id)).await.status(204);
    admin.delete(&path).await.status(204);
    admin.get(&path).await.refused(404, "not_found_error");
}

#[tokio::test]
async fn deleting_user_removes_its_limits_with_audit_rows() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    let limited = json!({"name": "Ada", "limits": {"usd_daily": "5"}});
    let ada = admin.create("/users", &limited).await;
    let path = format!("/users/{ada}");
    assert_eq!(admin.get(&path).await.ok().json()["limits"]["usd_daily"], "5.000000000000");
    // A field that is absent stays unchanged; `null` removes the limit.
    let change = json!({"limits": {"concurrency": 2}});
    let changed = admin.patch(&path, &change).await.ok().json();
    assert_eq!(changed["limits"], json!({"usd_daily": "5.000000000000", "concurrency": 2}));
    let change = json!({"limits": {"usd_daily": null}});
    let changed = admin.patch(&path, &change).await.ok().json();
    assert_eq!(changed["limits"], json!({"concurrency": 2}));
    let cap = json!({"scope": {"type": "user", "user_id": ada}, "amount": "100"});
    let request = admin.with_token("").request("POST", "/organizations/spend_limits");
    let request = request.header("x-api-key", system.admin_token()).body(cap.to_string());
    let limit = ClientResponse::to(request).await.ok().json();

    admin.delete(&path).await.status(204);
    let left = admin.get("/organizations/spend_limits").await.ok().json();
    assert_eq!(left["data"], json!([]));
    let rows = admin.get("/audit?actor=admin_token").await.ok().json();
    let audited: Vec<(&Value, &Value)> = rows["data"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (&row["action"], &row["target"]))
        .collect();
    for row in [("delete", &json!(ada)), ("delete", &limit["id"]), ("create", &limit["id"])] {
        assert!(audited.contains(&(&json!(row.0), row.1)), "{row:?}: {rows}");
    }
}

#[tokio::test]
async fn lists_are_filtered() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    let team = system.group("team").await;
    let ada = admin
        .create("/users", &json!({"name": "Ada", "email": "ada@x.org", "role": "admin"}))
        .await;
    admin.create("/users", &json!({"name": "Bob", "enabled": false})).await;
    system.account_with("one", &system.upstream.url(), json!({"groups": [team]})).await;
    system.account_with("two", &system.upstream.url(), json!({"enabled": false})).await;
    for n in 0..5 {
        system.key(&format!("Ada-{n}")).with("user_id", ada.as_str()).group(&team).create().await;
        system.key(&format!("other-{n}")).with("enabled", n > 0).create().await;
    }
    let names = async |path: &str| {
        let page = admin.get(path).await.ok().json();
        let rows = page["data"].as_array().expect("data").clone();
        let names: Vec<String> =
            rows.iter().map(|row| row["name"].as_str().unwrap_or_default().to_owned()).collect();
        (names.join(" "), page["next_cursor"].as_str().map(str::to_owned))
    };
    let check =
        async |path: &str, expected: &str| assert_eq!(names(path).await.0, expected, "{path}");
    check("/groups?q=TEAM", "team").await;
    check("/groups?enabled=false", "").await;
    check("/users?role=admin", "Ada").await;
    check("/users?enabled=false", "Bob").await;
    check("/users?q=X.org", "Ada").await;
    check(&format!("/accounts?group_id={team}"), "one").await;
    check("/accounts?enabled=false", "two").await;
    check("/keys?enabled=false", "other-0").await;
    check(&format!("/keys?group_id={team}&q=ada-3"), "Ada-3").await;
    // A filtered page has the full number of rows, and its cursor continues after them.
    let path = format!("/keys?user_id={ada}&limit=3");
    let (first, cursor) = names(&path).await;
    assert_eq!(first, "Ada-0 Ada-1 Ada-2");
    let (second, end) = names(&format!("{path}&cursor={}", cursor.expect("more"))).await;
    assert_eq!((second.as_str(), end), ("Ada-3 Ada-4", None));
    admin.get("/keys?enabled=perhaps").await.refused(400, "invalid_request_error");
    admin.get("/keys?user_id=nobody").await.refused(400, "invalid_request_error");
}

#[tokio::test]
async fn whole_decimal_count_is_accepted() {
    let system = TestSystem::empty().await;
    let body = |count: &str| format!(r#"{{"name": "ci", "limits": {{"concurrency": {count}}}}}"#);
    let post = async |count: &str| {
        let request = system.admin().request("POST", "/keys").body(body(count));
        ClientResponse::to(request).await
    };
    assert_eq!(post("3.0").await.status(201).json()["limits"]["concurrency"], 3);
    post("3.5").await.refused(400, "invalid_request_error");
    post("-3.0").await.refused(400, "invalid_request_error");
}

#[tokio::test]
async fn list_in_place_of_object_gets_400() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    admin
        .send("PUT", "/limits/organization", &json!(["5"]))
        .await
        .refused(400, "invalid_request_error");
    for path in ["/groups", "/users", "/keys"] {
        let body = json!({"name": "n", "limits": ["5"]});
        admin.post(path, &body).await.refused(400, "invalid_request_error");
    }
}
