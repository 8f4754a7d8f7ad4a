//! The admin API: resources are created, read, changed and deleted. It never returns secrets.

use std::collections::BTreeSet;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{OperatorClient, TestSystem};
use baton_test_harness::upstream::FakeUpstream;
use serde_json::{Value, json};

/// Creates, reads, changes, lists and deletes one resource. Returns the response to the creation.
async fn check_life_cycle(
    admin: &OperatorClient,
    path: &str,
    body: Value,
    change: (&str, Value),
) -> Value {
    let created = admin.post(path, &body).await;
    assert!(matches!(created.status, 200 | 201), "{path}: {}", created.text());
    let created = created.json();
    let id = created["id"].as_str().expect("an id");
    let one = format!("{path}/{id}");
    assert_eq!(admin.get(&one).await.ok().json()["name"], body["name"]);

    let (field, value) = change;
    admin.patch(&one, &json!({field: value})).await.ok();
    let changed = admin.get(&one).await.ok().json();
    assert_eq!(changed[field], value, "{one}");
    assert_eq!(changed["name"], body["name"], "the other fields are unchanged");
    let listed = admin.get(&format!("{path}?limit=100")).await.ok().json();
    assert!(listed["data"].as_array().expect("data").iter().any(|row| row["id"] == id));

    let gone = admin.delete(&one).await;
    assert!(matches!(gone.status, 200 | 204), "{}", gone.text());
    admin.get(&one).await.refused(404, "not_found_error");
    created
}

#[tokio::test]
async fn groups_accounts_and_keys_have_full_life_cycle() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    let group = json!({"name": "team", "description": "first"});
    let group = check_life_cycle(&admin, "/groups", group, ("description", "second".into())).await;
    assert!(group["id"].as_str().is_some_and(|id| id.starts_with("grp_")));

    let account = json!({
        "name": "main", "provider": "anthropic", "base_url": system.upstream.url(), "priority": 1,
        "credential": {"type": "api_key", "value": "sk-upstream-very-secret"},
    });
    let account = check_life_cycle(&admin, "/accounts", account, ("priority", 7.into())).await;
    assert!(account["id"].as_str().is_some_and(|id| id.starts_with("acc_")));
    assert_eq!(account["status"], "ready");

    let key = json!({"name": "ci", "models": ["claude-*"], "limits": {"usd_daily": "1.50"}});
    let key = check_life_cycle(&admin, "/keys", key, ("enabled", false.into())).await;
    assert!(key["id"].as_str().is_some_and(|id| id.starts_with("key_")));
    assert!(key["secret"].as_str().is_some_and(|secret| secret.starts_with("bt_")));
}

#[tokio::test]
async fn resources_without_a_group_join_the_default_group() {
    let system = TestSystem::open().await;
    let groups = system.admin().get("/groups").await.ok().json();
    let default = groups["data"].as_array().expect("data").iter().find(|g| g["name"] == "default");
    let id = default.expect("the default group")["id"].clone();
    let key = system.key("ci").create().await;
    let key = system.admin().get(&format!("/keys/{}", key.id)).await.ok().json();
    assert_eq!(key["group_id"], id);
    let accounts = system.admin().get("/accounts").await.ok().json();
    assert_eq!(accounts["data"][0]["groups"], json!([id]));
}

#[tokio::test]
async fn responses_contain_no_secret() {
    let system = TestSystem::open().await;
    let admin = system.admin();
    let key = system.key("ci").create().await;
    let accounts = admin.get("/accounts").await.ok();
    let id = accounts.json()["data"][0]["id"].as_str().expect("an id").to_owned();
    let account = format!("/accounts/{id}");
    let patch = json!({"credential": {"type": "api_key", "value": "sk-upstream-changed"}});
    let answers = [
        accounts,
        admin.get(&account).await.ok(),
        admin.patch(&account, &patch).await.ok(),
        admin.get("/keys").await.ok(),
        admin.get(&format!("/keys/{}", key.id)).await.ok(),
    ];
    for answer in answers {
        let text = answer.text();
        assert!(!text.contains("sk-upstream"), "{text}");
        assert!(!text.contains(&key.secret), "{text}");
    }
    key.ask("hi").await.ok();
    let used = system.upstream.last().request;
    let credential = used.header("x-api-key").or(used.header("authorization"));
    assert!(
        credential.is_some_and(|c| c.ends_with("sk-upstream-changed")),
        "the new credential is not used"
    );
}

#[tokio::test]
async fn rotated_key_has_new_secret_and_same_id() {
    let system = TestSystem::open().await;
    let old = system.key("ci").create().await;
    let answer = system.admin().post(&format!("/keys/{}/rotate", old.id), &json!({})).await;
    let body = answer.json();
    assert_eq!(body["id"], old.id.as_str(), "{body}");
    let secret = body["secret"].as_str().expect("a secret");
    assert_ne!(secret, old.secret);
    let new = baton_test_harness::system::TestKey::found(secret, &system.relay_url());
    new.ask("hi").await.ok();
}

#[tokio::test]
async fn list_pages_contain_every_row_once() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    let mut expected = BTreeSet::from(["default".to_owned()]);
    for n in 0..7 {
        let name = format!("group-{n}");
        system.group(&name).await;
        expected.insert(name);
    }
    let mut seen = Vec::new();
    let mut path = "/groups?limit=3".to_owned();
    loop {
        let page = admin.get(&path).await.ok().json();
        let rows = page["data"].as_array().expect("data");
        assert!(rows.len() <= 3, "{page}");
        seen.extend(rows.iter().filter_map(|row| row["name"].as_str()).map(str::to_owned));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        assert!(seen.len() < 20, "the cursor repeats pages");
        path = format!("/groups?limit=3&cursor={cursor}");
    }
    assert_eq!(seen.len(), expected.len(), "a row is listed twice: {seen:?}");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
    admin.get("/groups?cursor=nonsense").await.refused(400, "invalid_request_error");
}

#[tokio::test]
async fn requests_without_admin_token_get_401() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    for token in ["", "wrong", key.secret.as_str()] {
        let admin = system.admin().with_token(token);
        for path in ["/groups", "/accounts", "/keys", "/usage/summary", "/usage/events", "/audit"] {
            admin.get(path).await.refused(401, "authentication_error");
        }
        let create = json!({"name": "intruder"});
        admin.post("/keys", &create).await.refused(401, "authentication_error");
    }
}

#[tokio::test]
async fn invalid_input_gets_400() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    let refused = |answer: ClientResponse| answer.refused(400, "invalid_request_error");
    refused(admin.post("/keys", &json!({})).await);
    refused(admin.post("/keys", &json!({"name": "x", "limits": {"usd_daily": "much"}})).await);
    for (field, value) in [
        ("limits", json!({"usd_total": "99999999999999999999"})),
        ("expires_at", json!("2020-01-01T00:00:00Z")),
    ] {
        let answer = refused(admin.post("/keys", &json!({"name": "x", field: value})).await);
        assert!(answer.message().starts_with(&format!("`{field}")), "{}", answer.message());
    }
    refused(admin.post("/groups", &json!({"name": "x", "model_aliases": {"foo": ""}})).await);
    for (query, message) in [
        ("/audit?action=foo", "`action`: expected one of `create`, "),
        ("/usage/events?outcome=odd", "`outcome`: expected one of `complete`, "),
        ("/keys?limit=many", "`limit`: expected a whole number"),
    ] {
        let answer = refused(admin.get(query).await);
        assert!(answer.message().starts_with(message), "{query}: {}", answer.message());
    }
    refused(admin.post("/keys", &json!({"name": "x", "group_id": "grp_none"})).await);
    refused(admin.post("/accounts", &json!({"name": "x", "provider": "nobody"})).await);
    let account = json!({
        "name": "x", "provider": "anthropic", "base_url": "ftp://example.com",
        "credential": {"type": "api_key", "value": "s"},
    });
    refused(admin.post("/accounts", &account).await);
    let raw = admin.request("POST", "/keys").header("content-type", "application/json").body("{");
    refused(ClientResponse::to(raw).await);
    admin.get("/nothing").await.refused(404, "not_found_error");
}

#[tokio::test]
async fn account_test_updates_status() {
    let system = TestSystem::empty().await;
    for (provider, is_public) in [
        ("anthropic", false),
        ("anthropic", true),
        ("openai_compatible", false),
        ("openai_compatible", true),
    ] {
        let upstream = FakeUpstream::start();
        if is_public {
            upstream.lists_publicly();
        }
        let name = format!("{provider}-{is_public}");
        let fields = json!({"provider": provider});
        let id = system.account_with(&name, &upstream.url(), fields).await;
        let own = format!("sk-upstream-{name}");
        for (takes, is_ok, status) in [(vec![], false, "auth_failed"), (vec![&*own], true, "ready")]
        {
            upstream.only_takes(&takes);
            let tested = system.admin().post(&format!("/accounts/{id}/test"), &json!({})).await;
            let tested = tested.ok().json();
            assert_eq!(tested["ok"], is_ok, "{name}");
            let has_advice = tested["message"].to_string().contains("replace the credential");
            assert_eq!(has_advice, !is_ok, "{tested}");
            let account = system.admin().get(&format!("/accounts/{id}")).await.ok().json();
            assert_eq!(account["status"], status, "{name}: {account}");
        }
        assert_eq!(upstream.ledger().total().begun, 0, "a paid request was sent");
    }
}

#[tokio::test]
async fn root_redirects_to_console() {
    let system = TestSystem::empty().await;
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let client = client.build().expect("a client");
    for accept in ["*/*", "application/json", "text/html"] {
        let request = client.get(system.admin_url()).header("accept", accept);
        let answer = request.send().await.expect("an answer");
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["location"]),
            (303, &"/console".parse().expect("a value"))
        );
    }
}

#[tokio::test]
async fn account_test_uses_free_calls_only() {
    let system = TestSystem::empty().await;
    system.upstream.only_takes(&["sk-upstream-main"]);
    let id = system.account("main", &system.upstream.url()).await;
    let test = async |id: &str| {
        let answer = system.admin().post(&format!("/accounts/{id}/test"), &json!({})).await.ok();
        assert!(!answer.text().contains("sk-upstream"), "{}", answer.text());
        answer.json()
    };
    let tested = test(&id).await;
    assert_eq!(
        (&tested["ok"], &tested["upstream_status"]),
        (&json!(true), &json!(200)),
        "{tested}"
    );
    assert_eq!(
        system.upstream.exchanges().len(),
        2,
        "one call with its credential and one with an invalid one"
    );
    test(&id).await;
    assert_eq!(
        system.upstream.exchanges().len(),
        3,
        "the result of the invalid credential is stored"
    );
    assert_eq!(system.upstream.ledger().total().begun, 0, "a paid request was sent");
    let open = FakeUpstream::start();
    let id_of_open = system.account("open", &open.url()).await;
    let tested = test(&id_of_open).await;
    assert_eq!((&tested["ok"], &tested["upstream_status"]), (&Value::Null, &json!(200)));
    assert!(tested["message"].as_str().is_some_and(|text| text.contains("made-up")), "{tested}");
    let down = system.account("down", "http://127.0.0.1:1").await;
    let tested = test(&down).await;
    assert_eq!((&tested["ok"], &tested["upstream_status"]), (&json!(false), &Value::Null));
}
