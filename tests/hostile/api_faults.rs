//! Wrong and hostile requests to the admin API. Each answer must be a refusal with a reason or a
//! correct result, and never an internal error of Baton.

use crate::class::AttackClass;
use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{OperatorClient, TestSystem};
use serde_json::{Value, json};

struct Tries {
    class: AttackClass,
    admin: OperatorClient,
}

impl Tries {
    /// Sends the request and compares the status.
    async fn expect(
        &self,
        name: &str,
        (method, path): (&str, &str),
        body: Value,
        status: u16,
    ) -> ClientResponse {
        let answer = self.admin.send(method, path, &body).await;
        self.class.check(name, answer.status == status, || {
            format!("{} instead of {status}: {}", answer.status, answer.text())
        });
        answer
    }

    /// Reads the path and compares the status.
    async fn reads(&self, path: &str, statuses: &[u16]) {
        let answer = self.admin.get(path).await;
        let is_right = statuses.contains(&answer.status);
        self.class.check(path, is_right, || format!("{}: {}", answer.status, answer.text()));
    }
}

pub(crate) async fn run(class: AttackClass) {
    let system = TestSystem::open().await;
    let tries = Tries { class, admin: system.admin() };
    Box::pin(references(&system, &tries)).await;
    Box::pin(limits(&system, &tries)).await;
    Box::pin(names(&system, &tries)).await;
    Box::pin(queries(&tries)).await;
    Box::pin(cursors(&system, &tries)).await;
    Box::pin(lengths(&tries)).await;
}

async fn references(system: &TestSystem, tries: &Tries) {
    let group = system.group("twice").await;
    let credential = json!({"type": "api_key", "value": "x"});
    let body = json!({"name": "d", "base_url": system.upstream.url(), "credential": credential,
        "groups": [group, group]});
    let made =
        tries.expect("an account twice in one group", ("POST", "/accounts"), body, 201).await;
    let path = format!("/accounts/{}", made.json()["id"].as_str().unwrap_or_default());
    let change = json!({"groups": [group, group, group]});
    let changed = tries.expect("the same in a change", ("PATCH", &path), change, 200).await.json();
    let once = changed["groups"] == json!([group]);
    tries.class.check("its groups are named once", once, || changed["groups"].to_string());
    let nobody = json!({"name": "x", "user_id": "usr_0000000000000000"});
    tries.expect("a key of nobody", ("POST", "/keys"), nobody.clone(), 400).await;
    let key = system.key("k").group(&group).create().await;
    let path = format!("/keys/{}", key.id);
    tries.expect("a key given to nobody", ("PATCH", &path), nobody, 400).await;
    let at = format!("/groups/{group}");
    tries.expect("a group with accounts", ("DELETE", &at), json!({}), 409).await;
    let group = system.group("gone").await;
    let key = system.key("in gone").group(&group).create().await;
    let at = format!("/groups/{group}");
    tries.expect("a group with keys", ("DELETE", &at), json!({}), 409).await;
    tries.expect("its key", ("DELETE", &format!("/keys/{}", key.id)), json!({}), 204).await;
    tries.expect("a group without keys", ("DELETE", &at), json!({}), 204).await;
    for (end, status) in [
        ("9999-12-31T23:59:59Z", 201),
        ("9999-12-31T23:59:59.999Z", 201),
        ("9999-12-31T00:00:00+00:00", 201),
        ("2030-01-01T00:00:00Z", 201),
        ("2020-01-01T00:00:00Z", 400),
        ("9999-12-31", 400),
        ("9999-12-31T25:00:00Z", 400),
        ("2026-12-31", 400),
        ("10000-01-01T00:00:00Z", 400),
        ("never", 400),
        ("", 400),
    ] {
        let body = json!({"name": format!("until {end}"), "expires_at": end});
        tries.expect(&format!("a key until `{end}`"), ("POST", "/keys"), body, status).await;
    }
}

async fn limits(system: &TestSystem, tries: &Tries) {
    let first = json!({"usd_daily": "5", "usd_monthly": "50", "concurrency": 3});
    let key = system.key("limited").with("limits", first).create().await;
    let path = format!("/keys/{}", key.id);
    for (change, after) in [
        (
            json!({"usd_daily": "6"}),
            json!({"usd_daily": "6.000000000000", "usd_monthly": "50.000000000000", "concurrency": 3}),
        ),
        (json!({"usd_monthly": null}), json!({"usd_daily": "6.000000000000", "concurrency": 3})),
        (json!({}), json!({"usd_daily": "6.000000000000", "concurrency": 3})),
        (json!({"concurrency": 4.0}), json!({"usd_daily": "6.000000000000", "concurrency": 4})),
        (json!({"usd_daily": null, "concurrency": null}), json!({})),
    ] {
        let name = format!("limits {change}");
        let body = json!({"limits": change});
        let changed = tries.expect(&name, ("PATCH", &path), body, 200).await.json();
        let is_right = changed["limits"] == after;
        tries.class.check(&name, is_right, || changed["limits"].to_string());
    }
    for odd in [
        json!({"usd_daily": "much"}),
        json!({"shoe": 46}),
        json!({"shoe": null}),
        json!([1]),
        json!("x"),
    ] {
        let name = format!("limits {odd}");
        tries.expect(&name, ("PATCH", &path), json!({"limits": odd}), 400).await;
    }
    let hook = system.upstream.url();
    let first = json!({"url": format!("{hook}/h"), "thresholds": [90]});
    tries.expect("alerts", ("PUT", "/alerts"), first, 200).await;
    let change = json!({"form": "slack"});
    let after =
        tries.expect("alerts: the form alone", ("PUT", "/alerts"), change, 200).await.json();
    let stays = after["thresholds"] == json!([90]) && after["url_host"] == "127.0.0.1";
    tries.class.check("alerts: what is not named stays", stays, || after.to_string());
}

async fn names(system: &TestSystem, tries: &Tries) {
    let account = json!({"name": "same", "base_url": system.upstream.url(),
        "credential": {"type": "api_key", "value": "x"}});
    for (path, body) in [
        ("/groups", json!({"name": "same"})),
        ("/users", json!({"name": "same"})),
        ("/keys", json!({"name": "same"})),
        ("/accounts", account),
    ] {
        let first =
            tries.expect(&format!("{path}: a name"), ("POST", path), body.clone(), 201).await;
        let again =
            tries.expect(&format!("{path}: it again"), ("POST", path), body.clone(), 409).await;
        tries.class.check(path, again.message().contains("same"), || again.text());
        let mut spaced = body.clone();
        spaced["name"] = json!("  same ");
        tries.expect(&format!("{path}: with spaces"), ("POST", path), spaced, 409).await;
        let mut other = body.clone();
        other["name"] = json!("other");
        let second = tries.expect(&format!("{path}: another"), ("POST", path), other, 201).await;
        let at = |made: &ClientResponse| {
            format!("{path}/{}", made.json()["id"].as_str().unwrap_or_default())
        };
        let rename = json!({"name": "same"});
        tries.expect("a change to it", ("PATCH", &at(&second)), rename.clone(), 409).await;
        tries.expect("its own name", ("PATCH", &at(&first)), rename.clone(), 200).await;
        tries.expect("another for it", ("PATCH", &at(&first)), json!({"name": "free"}), 200).await;
        tries.expect("what is free again", ("PATCH", &at(&second)), rename, 200).await;
        tries.expect("it is removed", ("DELETE", &at(&second)), json!({}), 204).await;
        // Of many simultaneous requests only one creates the resource.
        let made = (0..8).map(|_| tries.admin.post(path, &body));
        let made = futures_util::future::join_all(made).await;
        let count = made.iter().filter(|answer| answer.status == 201).count();
        let rest = made.iter().all(|answer| [201, 409].contains(&answer.status));
        tries
            .class
            .check(&format!("{path}: eight at once"), count == 1 && rest, || format!("{count}"));
    }
}

async fn queries(tries: &Tries) {
    for path in [
        "/usage/events?key=key_1",
        "/usage/events?keyid=1",
        "/usage/events?q=x",
        "/usage/events?statuss=3",
        "/usage/events?request_id=req_1",
        "/usage/summary?key_id=bad",
        "/usage/export?fmt=csv",
        "/keys?user=usr_1",
        "/keys?foo=bar",
        "/keys?limit=1&Limit=2",
        "/keys?%6cimit=1&x",
        "/users?name=x",
        "/groups?group_id=x",
        "/accounts?state=x",
        "/audit?who=x",
        "/prices?model=x",
        "/settings?x=1",
        "/overview?x=1",
        "/openapi.json?x=1",
        "/organizations/spend_limits?user_id=x",
        "/keys?limit=0",
        "/keys?limit=1001",
        "/keys?limit=-1",
        "/keys?limit=x",
        "/keys?limit=1&limit=2",
        "/usage/events?from=yesterday",
        "/usage/events?from=2026-01-03&to=2026-01-01",
        "/usage/summary?by=shoe",
    ] {
        tries.reads(path, &[400]).await;
    }
    for path in [
        "/keys?limit=1&cursor=",
        "/usage/events?from=2026-01-01&to=2026-01-02",
        "/organizations/spend_limits?scope_type[]=user",
        "/organizations/spend_limits/effective?period[]=daily&period[]=monthly",
        "/usage/summary?by=day,model",
    ] {
        tries.reads(path, &[200]).await;
    }
    for day in ["9999-12-30", "9999-12-31", "-9999-01-01", "0000-01-01", "1-1-1", "2026-02-30"] {
        tries.reads(&format!("/usage/events?from={day}"), &[200, 400]).await;
        tries.reads(&format!("/usage/events?to={day}"), &[200, 400]).await;
        tries.reads(&format!("/usage/summary?from={day}&to={day}"), &[200, 400]).await;
        tries.reads(&format!("/audit?from={day}&to={day}"), &[200, 400]).await;
    }
}

async fn cursors(system: &TestSystem, tries: &Tries) {
    let key = system.key("asks").create().await;
    for _ in 0..3 {
        key.ask("hi").await.ok();
    }
    system.events_of(&key, 3).await;
    let page = tries.admin.get("/usage/events?limit=1").await.ok().json();
    let good = page["next_cursor"].as_str().unwrap_or_default().to_owned();
    let decoded = base64_decode(&good);
    let fields: Value = serde_json::from_slice(&decoded).unwrap_or_default();
    let mut forged: Vec<String> = Vec::new();
    for field in ["pk", "sk", "day", "account_day"] {
        for value in [
            "",
            "x",
            "äöü",
            "\u{0}",
            "2026-11-22",
            "event#x#2026-11-22",
            "audit#2026-11",
            "9999-12-30T00:00:00.000Z#req_1",
            "0001-01-01T00:00:00.000Z#req_1",
            "#",
            "##",
        ] {
            let mut changed = fields.clone();
            changed[field] = json!(value);
            forged.push(base64_encode(&changed));
        }
        let mut without = fields.clone();
        without.as_object_mut().map(|all| all.remove(field));
        forged.push(base64_encode(&without));
        forged.push(base64_encode(&json!({field: fields[field]})));
        forged.push(base64_encode(&json!({field: 7})));
    }
    for day in ["", "x", "9999-12-30", "2026-13-01", "0000-00-00"] {
        forged.push(base64_encode(&json!({"day": day})));
        forged.push(base64_encode(&json!({"sk": day})));
    }
    forged.extend(["%00", "A", "====", "null", "bnVsbA", "W10", "e30"].map(str::to_owned));
    forged.push("A".repeat(6000));
    let ada = tries.admin.create("/users", &json!({"name": "reads"})).await;
    let member = system.key("reads").with("user_id", ada.as_str()).create().await;
    let other = format!("&key_id={}", member.id);
    let paths = [
        "/usage/events?limit=1",
        "/keys?limit=1",
        "/audit?limit=1",
        "/prices?limit=1",
        "/users?limit=1",
    ];
    for cursor in &forged {
        for path in paths {
            tries.reads(&format!("{path}&cursor={cursor}"), &[200, 400]).await;
        }
        tries.reads(&format!("/usage/events?limit=1{other}&cursor={cursor}"), &[200, 400]).await;
        let path = format!("/usage/events?limit=1&cursor={cursor}");
        let answer = tries.admin.with_token(&member.secret).get(&path).await;
        let is_own = [200, 400].contains(&answer.status) && !answer.text().contains(&key.id);
        tries.class.check(&format!("a member's {path}"), is_own, || answer.text());
    }
    // A valid cursor leads to the end, and each event appears once.
    let (mut seen, mut cursor) = (1, good);
    while !cursor.is_empty() && seen < 10 {
        let page = tries.admin.get(&format!("/usage/events?limit=1&cursor={cursor}")).await;
        let page = page.json();
        seen += page["data"].as_array().map_or(0, Vec::len);
        page["next_cursor"].as_str().unwrap_or_default().clone_into(&mut cursor);
    }
    tries.class.check("pages of one event", seen == 3, || seen.to_string());
}

async fn lengths(tries: &Tries) {
    let long = "x".repeat(5000);
    for (name, method, path, body) in [
        ("a long description", "POST", "/groups", json!({"name": "g", "description": long})),
        ("a long name", "POST", "/groups", json!({"name": long})),
        ("a name with a new line", "POST", "/groups", json!({"name": "a\nb"})),
        ("a long state", "POST", "/oauth/finish", json!({"state": long, "code": "c"})),
        (
            "a long e-mail address",
            "POST",
            "/users",
            json!({"name": "u", "email": format!("{long}@x.y")}),
        ),
        ("a long model", "POST", "/prices", json!({"model": long, "input": "1", "output": "1"})),
        ("no object", "POST", "/keys", json!([1, 2])),
        ("null", "POST", "/keys", Value::Null),
    ] {
        tries.expect(name, (method, path), body, 400).await;
    }
    let huge = json!({"name": "g", "description": "x".repeat(100_000)});
    let told = tries.expect("a body that is too long", ("POST", "/groups"), huge, 413).await;
    let names_bound = told.text().contains("request_too_large") && told.message().contains("65536");
    tries.class.check("the bound of a body", names_bound, || told.text());
    empty_credentials(tries).await;
    odd_addresses(tries).await;
    tries.reads(&format!("/prices/{long}"), &[404]).await;
    tries.reads(&format!("/keys/{long}"), &[404]).await;
    let path = format!("/prices/{long}?effective_from=2026-01-01");
    tries.expect("a long price", ("DELETE", &path), json!({}), 404).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let answer = tries.admin.send(method, "/keys", &json!({"name": method})).await;
        let says = answer.header("cache-control") == Some("no-store");
        tries.class.check(&format!("{method}: cache-control"), says, || answer.text());
    }
}

async fn empty_credentials(tries: &Tries) {
    let url = "https://token.example/token";
    let account = json!({
        "name": "signed-in", "provider": "anthropic",
        "credential": {"type": "oauth2", "token_url": url, "client_id": "c", "refresh_token": "r"},
    });
    let made = tries.expect("an account", ("POST", "/accounts"), account, 201).await;
    let path = format!("/accounts/{}", made.json()["id"].as_str().unwrap_or_default());
    for (field, value) in
        [("refresh_token", ""), ("refresh_token", " "), ("client_id", ""), ("client_secret", "")]
    {
        let mut credential = json!({
            "type": "oauth2", "token_url": url, "client_id": "c", "refresh_token": "r",
        });
        credential[field] = json!(value);
        let change = json!({"credential": credential});
        let told = tries.expect(field, ("PATCH", &path), change, 400).await;
        tries.class.check(field, told.message().contains(field), || told.text());
    }
    for field in ["federation_rule_id", "organization_id", "service_account_id", "audience"] {
        let mut credential = json!({
            "type": "workload_identity", "federation_rule_id": "f", "organization_id": "o",
            "service_account_id": "s",
        });
        credential[field] = json!("");
        let change = json!({"credential": credential});
        let told = tries.expect(field, ("PATCH", &path), change, 400).await;
        tries.class.check(field, told.message().contains(field), || told.text());
    }
}

async fn odd_addresses(tries: &Tries) {
    for url in [
        r"https://host.example:1\@other.example",
        "https://host.example\t.other.example",
        "https://host.example\u{3002}other.example",
        " https://host.example",
    ] {
        let credential = json!({"type": "api_key", "value": "k"});
        let name = format!("n{}", url.len());
        let account = json!({"name": name, "base_url": url, "credential": credential});
        tries.expect(url, ("POST", "/accounts"), account, 400).await;
    }
}

fn base64_encode(value: &Value) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn base64_decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(text).unwrap_or_default()
}
