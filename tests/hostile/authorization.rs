//! Every route of the admin API with every kind of credential, and access to other people's
//! resources.

use crate::class::AttackClass;
use baton_domain::id::KeyId;
use baton_domain::relay_key::{compose, new_secret};
use baton_runtime::clock::Clock;
use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{OperatorClient, SOON, TestKey, TestSystem};
use jiff::SignedDuration;
use serde_json::json;

/// Credentials that give no access, with their names.
type RefusedCredentials = Vec<(&'static str, String)>;

struct People {
    ada: (String, TestKey),
    /// One of her keys, with few permissions.
    narrow: TestKey,
    bob: (String, TestKey),
    /// The relay key of an administrator.
    root: TestKey,
}

async fn person(system: &TestSystem, name: &str, role: &str) -> (String, TestKey) {
    let id = system.admin().create("/users", &json!({"name": name, "role": role})).await;
    let key = system.key(name).with("user_id", id.as_str()).create().await;
    (id, key)
}

pub(crate) async fn run(class: AttackClass) {
    let system = TestSystem::open().await;
    let admin = system.admin();
    let ada = person(&system, "Ada", "member").await;
    let narrow = system.key("ci").with("user_id", ada.0.as_str());
    let narrow = narrow.with("models", json!(["claude-haiku-*"])).create().await;
    let (_, root) = person(&system, "Root", "admin").await;
    let people = People { bob: person(&system, "Bob", "member").await, ada, narrow, root };
    let disabled = system.key("disabled").with("user_id", people.ada.0.as_str());
    let disabled = disabled.with("enabled", false).create().await;
    let expired = system.key("expired").with("user_id", people.ada.0.as_str());
    let soon = Clock::system().now() + SignedDuration::from_secs(1);
    let expired = expired.with("expires_at", soon.to_string()).create().await;
    eventually("the key expires", SOON, async || {
        let status = expired.ask("hi").await.status;
        if status == 401 { Ok(()) } else { Err(status) }
    })
    .await;
    let (off, of_disabled) = person(&system, "Off", "admin").await;
    admin.patch(&format!("/users/{off}"), &json!({"enabled": false})).await.ok();
    let unknown = compose(&KeyId::from_bits(9), &new_secret([1, 2]));
    let closed: RefusedCredentials = vec![
        ("nobody", String::new()),
        ("a wrong token", "bta_wrong".to_owned()),
        ("an unknown key", unknown.expose().to_owned()),
        ("a key without a user", system.key("of nobody").create().await.secret),
        ("a key of a disabled administrator", of_disabled.secret),
        ("a disabled key", disabled.secret),
        ("an expired key", expired.secret),
    ];
    for (_, key) in [&people.ada, &people.bob] {
        key.ask("hi").await.ok();
        system.events_of(key, 1).await;
    }
    Box::pin(matrix(&class, &admin, &people, &closed)).await;
    Box::pin(of_others(&class, &admin, &people)).await;
    Box::pin(spellings(&class, &system, &people)).await;
}

/// Every route with every credential.
async fn matrix(
    class: &AttackClass,
    admin: &OperatorClient,
    people: &People,
    closed: &RefusedCredentials,
) {
    let document = admin.with_token("").get("/openapi.json").await.ok().json();
    let ids = [
        ("{key_id}", &*people.bob.1.id),
        ("{user_id}", &people.bob.0),
        ("{model}", "m"),
        ("{account_id}", "acc_0"),
        ("{group_id}", "grp_0"),
        ("{spend_limit_id}", "spl_0"),
    ];
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        let path = path.strip_prefix("/api/v1").unwrap_or(path);
        let path = ids.iter().fold(path.to_owned(), |path, (name, id)| path.replace(name, id));
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let access = operation["x-baton-access"].as_str().unwrap_or_default();
            if access == "anybody" {
                continue;
            }
            let method = method.to_uppercase();
            let ask =
                async |token: &str| admin.with_token(token).send(&method, &path, &json!({})).await;
            for (name, token) in closed {
                let status = ask(token).await.status;
                let input = format!("{method} {path} by {name}");
                class.check(&input, [401, 429].contains(&status), || status.to_string());
            }
            // A relay key has the rights of a member, whoever owns it. Ada cannot see anything of
            // Bob.
            for (name, key) in
                [("a member", &people.ada.1), ("an administrator's key", &people.root)]
            {
                let answer = ask(&key.secret).await;
                let is_right = match access {
                    "admin" => answer.status == 403,
                    _ if path.contains("key_") => answer.status == 404,
                    _ => answer.status == 200,
                };
                class.check(&format!("{method} {path} by {name}"), is_right, || answer.text());
            }
        }
    }
}

/// Access to other people's resources, by ids, filters and bodies.
async fn of_others(class: &AttackClass, admin: &OperatorClient, people: &People) {
    let ada = admin.with_token(&people.ada.1.secret);
    let narrow = admin.with_token(&people.narrow.secret);
    let (bob, bobs) = (&people.bob.0, &people.bob.1.id);
    for (path, status) in [
        (format!("/keys?user_id={bob}"), 403),
        (format!("/usage/summary?user={bob}"), 403),
        (format!("/usage/events?user_id={bob}"), 403),
        (format!("/usage/export?user_id={bob}"), 403),
        (format!("/usage/summary?user={}&user={bob}", people.ada.0), 400),
        (format!("/keys?user_id={}&user_id={bob}", people.ada.0), 400),
        (format!("/keys/{bobs}"), 404),
    ] {
        let answer = ada.get(&path).await;
        class.check(&path, answer.status == status, || answer.text());
    }
    for path in [
        "/keys".to_owned(),
        "/keys?limit=1000".to_owned(),
        "/keys?q=bob".to_owned(),
        "/usage/events".to_owned(),
        format!("/usage/events?key_id={bobs}"),
        "/usage/export?format=jsonl".to_owned(),
        "/usage/export?format=csv".to_owned(),
        format!("/usage/export?format=jsonl&key_id={bobs}"),
        "/usage/summary?by=user".to_owned(),
        "/usage/summary?by=key,user,group,account,model".to_owned(),
        format!("/usage/summary?by=key&key={bobs}"),
    ] {
        for (name, who) in [("Ada", &ada), ("her key for CI", &narrow)] {
            let answer = who.get(&path).await.ok();
            let text = answer.text();
            let is_own = !text.contains(bob.as_str()) && !text.contains(bobs.as_str());
            class.check(&format!("{path} by {name}"), is_own, || text.clone());
        }
    }
    let hers = &people.ada.1.id;
    for (input, who, method, path, body) in [
        ("Ada renames Bob's key", &ada, "PATCH", format!("/keys/{bobs}"), json!({"name": "x"})),
        ("Ada rotates Bob's key", &ada, "POST", format!("/keys/{bobs}/rotate"), json!({})),
        (
            "her narrow key rotates her wide one",
            &narrow,
            "POST",
            format!("/keys/{hers}/rotate"),
            json!({}),
        ),
        (
            "her narrow key renames her wide one",
            &narrow,
            "PATCH",
            format!("/keys/{hers}"),
            json!({"name": "x"}),
        ),
        (
            "her narrow key switches her wide one off",
            &narrow,
            "PATCH",
            format!("/keys/{hers}"),
            json!({"enabled": false}),
        ),
    ] {
        let answer = who.send(method, &path, &body).await;
        let is_refused = [403, 404].contains(&answer.status) && answer.json()["secret"].is_null();
        class.check(input, is_refused, || answer.text());
    }
    for body in [
        json!({"user_id": bob}),
        json!({"user_id": null}),
        json!({"group_id": "grp_default"}),
        json!({"models": []}),
        json!({"limits": {}}),
        json!({"limits": null}),
        json!({"limits": {"usd_daily": null}}),
        json!({"expires_at": null}),
        json!({"enabled": true}),
        json!({"estimate": "expected"}),
        json!({"id": bobs}),
        json!({"secret": "x"}),
    ] {
        let path = format!("/keys/{}", people.narrow.id);
        let answer = narrow.patch(&path, &body).await;
        let is_refused = [400, 403].contains(&answer.status);
        class.check(&format!("a key gives itself {body}"), is_refused, || answer.text());
    }
}

/// Other spellings of a path, other methods, further headers.
async fn spellings(class: &AttackClass, system: &TestSystem, people: &People) {
    let http = baton_test_harness::system::plain_client();
    let base = system.admin_url();
    for path in [
        "/api/v1/users/",
        "/api/v1//users",
        "/api/v1/%75sers",
        "/api/v1/USERS",
        "/API/V1/users",
        "/api/v1/users%00",
        "/api/v1/users%20",
        "/api/v1/users;x",
        "/api/v1/keys/..%2fusers",
        "/api/v1/keys/%2e%2e/users",
        "/v1/organizations/spend_limits",
        "/metrics",
        "/api/v1/v1/organizations/spend_limits",
        "/console/users",
        "/console/api/v1/users",
    ] {
        for (name, secret) in
            [("a member", &people.ada.1.secret), ("root's key", &people.root.secret)]
        {
            let answer = http.get(format!("{base}{path}")).bearer_auth(secret).send().await;
            let status = answer.map(|answer| answer.status().as_u16()).unwrap_or_default();
            let is_closed = [303, 400, 401, 403, 404, 405].contains(&status);
            class.check(&format!("{path} by {name}"), is_closed, || status.to_string());
        }
    }
    for (name, value) in [
        ("x-http-method-override", "GET"),
        ("x-original-url", "/api/v1/users"),
        ("x-forwarded-user", "root"),
        ("x-api-key", system.admin_token()),
        ("x-forwarded-for", "127.0.0.1"),
        ("cookie", "baton=token"),
    ] {
        let request = http.get(format!("{base}/api/v1/users")).bearer_auth(&people.ada.1.secret);
        let answer = request.header(name, value).send().await;
        let status = answer.map(|answer| answer.status().as_u16()).unwrap_or_default();
        class.check(&format!("a member with {name}"), status == 403, || status.to_string());
    }
    // A console session that was opened with a relay key has only a member's rights too.
    let address = base.trim_start_matches("http://").parse().expect("an address");
    let mut visitor = baton_test_harness::signing_in::TestBrowser::at(address);
    visitor.sign_in(&people.root.secret).await.leads_to("/console");
    for page in [
        "/accounts",
        "/groups",
        "/keys",
        "/users",
        "/limits",
        "/prices",
        "/alerts",
        "/audit",
        "/settings",
    ] {
        let status = visitor.open(&format!("/console{page}")).await.answer.status;
        class.check(&format!("/console{page} by root's key"), status == 403, || status.to_string());
    }
}
