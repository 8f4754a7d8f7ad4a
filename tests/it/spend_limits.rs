//! `/v1/organizations/spend_limits`: the format of Anthropic's Admin API, which cap applies to
//! whom, and that the caps are enforced.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem, settled};
use serde_json::{Value, json};

const PATH: &str = "/v1/organizations/spend_limits";

async fn get(system: &TestSystem, path: &str) -> Value {
    let answer =
        ClientResponse::to(system.admin().request_at_root("GET", &format!("{PATH}{path}")))
            .await
            .ok();
    assert!(answer.header("request-id").is_some_and(|id| id.starts_with("req_")), "{path}");
    answer.json()
}

async fn set(system: &TestSystem, scope: Value, amount: Option<&str>, period: &str) -> Value {
    let body = json!({ "scope": scope, "amount": amount, "period": period });
    let request = system.admin().request_at_root("POST", PATH).body(body.to_string());
    ClientResponse::to(request).await.ok().json()
}

async fn remove(system: &TestSystem, id: &Value) -> ClientResponse {
    let path = format!("{PATH}/{}", id.as_str().expect("an id"));
    ClientResponse::to(system.admin().request_at_root("DELETE", &path)).await
}

fn organization() -> Value {
    json!({ "type": "organization" })
}

fn user(id: &str) -> Value {
    json!({ "type": "user", "user_id": id })
}

/// A new user and a key of this user.
async fn users_key(system: &TestSystem, name: &str) -> (String, TestKey) {
    let user = system.admin().create("/users", &json!({"name": name})).await;
    let key = system.key(name).with("user_id", user.as_str()).create().await;
    (user, key)
}

#[tokio::test]
async fn spend_limit_is_set_replaced_listed_and_removed() {
    let system = TestSystem::empty().await;
    let first = set(&system, organization(), Some("50000"), "monthly").await;
    assert_eq!(first["type"], "spend_limit");
    assert_eq!((&first["amount"], &first["currency"]), (&json!("50000"), &json!("USD")));
    assert!(first["id"].as_str().is_some_and(|id| id.starts_with("spl_")), "{first}");
    let again = set(&system, organization(), None, "monthly").await;
    assert_eq!((&again["id"], &again["created_at"]), (&first["id"], &first["created_at"]));
    assert_eq!(again["amount"], Value::Null);
    let unknown_user = json!({ "scope": user("usr_1"), "amount": "100", "period": "daily" });
    let request = system.admin().request_at_root("POST", PATH).body(unknown_user.to_string());
    ClientResponse::to(request).await.refused(404, "not_found_error");
    let ada = system.admin().create("/users", &json!({"name": "ada"})).await;
    let mine = set(&system, user(&ada), Some("100"), "daily").await;
    assert_eq!(mine["scope"], user(&ada));
    assert_eq!(get(&system, &format!("/{}", mine["id"].as_str().expect("an id"))).await, mine);

    let all = get(&system, "?limit=1").await;
    assert_eq!((&all["data"], &all["has_more"]), (&json!([again]), &json!(true)));
    let last = all["last_id"].as_str().expect("an id");
    let rest = get(&system, &format!("?limit=1&after_id={last}")).await;
    assert_eq!((&rest["data"], &rest["has_more"]), (&json!([mine]), &json!(false)));
    let mine_id = mine["id"].as_str().expect("an id");
    let before = get(&system, &format!("?before_id={mine_id}")).await;
    assert_eq!((&before["data"], &before["has_more"]), (&json!([again]), &json!(false)));
    for alias in ["/organizations/spend_limits", "/v1/organizations/spend_limits"] {
        let listed = system.admin().get(alias).await.ok().json();
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(2), "{alias}");
    }

    let gone = remove(&system, &mine["id"]).await.ok().json();
    assert_eq!(gone, json!({ "type": "spend_limit_deleted", "id": mine["id"] }));
    remove(&system, &mine["id"]).await.refused(404, "not_found_error");

    let trail = get(&system, "/audit").await;
    let rows = trail["data"].as_array().expect("rows");
    let changes: Vec<(&str, &Value)> = rows
        .iter()
        .map(|row| (row["action"].as_str().unwrap_or_default(), &row["target"]))
        .collect();
    let (org, own) = (&first["id"], &mine["id"]);
    assert_eq!(changes, [("delete", own), ("create", own), ("update", org), ("create", org)]);
    assert_eq!((&rows[2]["before"]["amount"], &rows[2]["after"]), (&json!("50000"), &again));
    assert_eq!(trail["has_more"], false);
    assert_eq!(get(&system, "/audit?limit=3").await["has_more"], true);
}

#[tokio::test]
async fn invalid_input_is_refused() {
    let system = TestSystem::empty().await;
    let bad = [
        json!({ "scope": organization(), "amount": "1.5", "period": "daily" }),
        json!({ "scope": organization(), "amount": 5, "period": "daily" }),
        json!({ "scope": organization(), "amount": "5", "period": "hourly" }),
        json!({ "scope": organization(), "amount": "5", "currency": "EUR" }),
        json!({ "scope": { "type": "user", "user_id": "key_1" }, "amount": "5" }),
        json!({ "scope": { "type": "rbac_group", "rbac_group_id": "grp_none" }, "amount": "5" }),
        json!({ "scope": { "type": "seat_tier" }, "amount": "5" }),
    ];
    for body in bad {
        let request = system.admin().request_at_root("POST", PATH).body(body.to_string());
        ClientResponse::to(request).await.refused(400, "invalid_request_error");
    }
    let wrong_token = system.admin().with_token("wrong");
    ClientResponse::to(wrong_token.request_at_root("GET", PATH))
        .await
        .refused(401, "authentication_error");
    for path in ["/effective?sort=spend_desc", "/effective?period[]=yearly", "?limit=0"] {
        let request = system.admin().request_at_root("GET", &format!("{PATH}{path}"));
        ClientResponse::to(request).await.refused(400, "invalid_request_error");
    }
}

#[tokio::test]
async fn nearest_cap_applies_to_each_person() {
    let system = TestSystem::open().await;
    let (first_id, one) = users_key(&system, "first").await;
    let (second_id, two) = users_key(&system, "second").await;
    let free = system.key("free").create().await;
    set(&system, organization(), Some("0"), "weekly").await;
    for key in [&one, &two, &free] {
        let text = key.ask("hi").await.blocked("billing_error").message();
        assert!(text.starts_with("spend limit reached · the weekly limit of 0.00 USD"), "{text}");
        let owner = "raise the spend limit for each person in the organization";
        assert!(text.ends_with(owner), "{text}");
    }
    let group = json!({ "type": "rbac_group", "rbac_group_id": "grp_default" });
    let of_group = set(&system, group, Some("100"), "weekly").await;
    let own = set(&system, user(&second_id), None, "weekly").await;
    for key in [&one, &two, &free] {
        key.ask("hi").await.ok();
    }
    for key in [&one, &free] {
        settled(key).await;
    }

    let rows = get(&system, "/effective?period[]=weekly").await;
    let rows = rows["data"].as_array().expect("rows").clone();
    assert_eq!(rows.len(), 3 + 1, "the first key of the system counts as a person: {rows:?}");
    let row = |id: &str| {
        let mine = |row: &&Value| row["scope"].to_string().contains(id);
        rows.iter().find(mine).unwrap_or_else(|| panic!("{id}: {rows:?}")).clone()
    };
    let first = row(&first_id);
    assert_eq!((&first["amount"], &first["spend_limit_id"]), (&json!("100"), &of_group["id"]));
    assert_eq!(first["source"]["type"], "rbac_group");
    assert_eq!(first["groups"], json!(["grp_default"]));
    assert_ne!(first["period_to_date_spend"], "0");
    let second = row(&second_id);
    assert_eq!((&second["amount"], &second["spend_limit_id"]), (&Value::Null, &own["id"]));
    assert_ne!(
        row(&free.id)["period_to_date_spend"],
        "0",
        "a key without a user counts as a person"
    );

    let top = get(&system, "/effective?period[]=weekly&sort=spend_desc&limit=2").await;
    assert_eq!(top["data"].as_array().map(Vec::len), Some(2));
    let next = top["next_page"].as_str().expect("more").to_owned();
    let path = format!("/effective?period[]=weekly&sort=spend_desc&limit=2&page={next}");
    let rest = get(&system, &path).await;
    assert_eq!(rest["next_page"], Value::Null);
    let spends: Vec<Value> = [&top, &rest]
        .iter()
        .flat_map(|page| page["data"].as_array().expect("rows"))
        .map(|row| row["period_to_date_spend"].clone())
        .collect();
    assert!(spends[..2].iter().all(|spend| spend != "0") && spends[2..].iter().all(|s| s == "0"));

    let found = get(&system, &format!("/effective?q={}", second_id.to_uppercase())).await;
    assert_eq!(found["data"].as_array().map(Vec::len), Some(1), "{found}");
    let found = get(&system, &format!("/effective?user_ids[]={first_id}&limit=1")).await;
    assert_eq!(found["data"][0]["actor"]["user_id"], first_id.as_str(), "{found}");
}

#[tokio::test]
async fn most_restrictive_group_cap_applies_to_all_keys() {
    let system = TestSystem::open().await;
    let tight = system.group("tight").await;
    let (user_id, wide) = users_key(&system, "wide").await;
    let group = json!({ "type": "rbac_group", "rbac_group_id": tight });
    set(&system, group, Some("0"), "daily").await;
    wide.ask("hi").await.ok();
    let other = system.key("tight").group(&tight).with("user_id", user_id.as_str()).create().await;
    let text = wide.ask("hi").await.blocked("billing_error").message();
    assert!(text.ends_with("raise the spend limit for each person in group tight"), "{text}");
    let without_user = json!({ "user_id": null });
    system.admin().patch(&format!("/keys/{}", other.id), &without_user).await.ok();
    wide.ask("hi").await.ok();
    other.ask("hi").await.blocked("billing_error");
}
