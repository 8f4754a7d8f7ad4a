//! The console: every page with and without data, for administrators and members, its number of API
//! calls, and what a page must never contain.

mod account_sign_in;
mod prices;
mod sign_in_form;
mod sign_in_openid;

use baton_test_harness::console_client::{ConsoleClient, ConsolePage};
use baton_test_harness::system::ADMIN_TOKEN;
use serde_json::json;

/// Pages for everybody with a session.
const OPEN: [&str; 4] =
    ["/console/requests", "/console/connect", "/console/mine", "/console/mine/usage"];
/// Pages for administrators only.
const ADMINS: [&str; 14] = [
    "/console/accounts",
    "/console/accounts/new",
    "/console/groups",
    "/console/groups/new",
    "/console/keys",
    "/console/keys/new",
    "/console/users",
    "/console/users/new",
    "/console/limits",
    "/console/prices",
    "/console/prices/new",
    "/console/alerts",
    "/console/settings",
    "/console/audit",
];
const BYTES_MAX: usize = 100_000;

fn assets(page: &ConsolePage) -> Vec<String> {
    let quoted = page.html.split('"').filter(|part| part.starts_with("/console/assets/"));
    quoted.map(str::to_owned).collect()
}

#[tokio::test]
async fn pages_without_data_are_well_formed() {
    let console = ConsoleClient::open().await;
    for path in ["/console"].iter().chain(&OPEN).chain(&ADMINS) {
        let page = console.get(path).await.ok();
        assert!(page.text().len() > 100, "{path}");
    }
    let first = console.get("/console").await;
    assert!(first.text().contains("Add the first account"), "{}", first.text());
}

#[tokio::test]
async fn pages_with_data_are_well_formed_and_small() {
    let console = ConsoleClient::open().await;
    let staff = console.company(120, 30, 20).await;
    let group = console.api("POST", "/groups", &json!({"name": "research"})).await;
    let (user, _, _) = console.member("Ada").await;
    let cap =
        json!({"scope": {"type": "user", "user_id": user}, "amount": "500", "period": "daily"});
    console.api("POST", "/organizations/spend_limits", &cap).await;
    let rates = json!({"input": "1", "output": "2", "cache_read": "0.1", "cache_write_5m": "1", "cache_write_1h": "1"});
    console.api("POST", "/prices", &json!({"model": "own-model", "standard": rates})).await;
    let resource_pages = [
        format!("/console/accounts/{}", staff.accounts[0]),
        format!("/console/keys/{}", staff.keys[0].0),
        format!("/console/users/{user}"),
        format!("/console/groups/{}", group["id"].as_str().expect("an id")),
        "/console/groups/grp_default".to_owned(),
    ];
    let lists = ["/console"].iter().chain(&OPEN).chain(&ADMINS).map(|path| (*path).to_owned());
    for path in lists.chain(resource_pages) {
        let page = console.get(&path).await.ok();
        let mut bytes = page.html.len();
        for asset in assets(&page) {
            let asset = console.get(&asset).await;
            assert_eq!(asset.status, 200);
            let cache = asset.headers["cache-control"].to_str().expect("text");
            assert!(cache.contains("immutable"), "{cache}");
            bytes += asset.html.len();
        }
        assert!(bytes < BYTES_MAX, "{path} weighs {bytes} bytes");
    }
}

#[tokio::test]
async fn member_sees_only_its_own_resources() {
    let console = ConsoleClient::open().await;
    let (user, key, secret) = console.member("Ada").await;
    let (_, other, _) = console.member("Bob").await;
    let foreign = [format!("/console/users/{user}"), "/console/accounts/acc_1".to_owned()];
    for path in ADMINS.iter().map(|path| (*path).to_owned()).chain(foreign) {
        let page = console.ask("GET", &path, &secret, "").await.well_formed();
        assert_eq!(page.status, 403, "{path}");
        assert!(page.text().contains("administrators") || page.text().contains("role"), "{path}");
    }
    for path in OPEN {
        let page = console.ask("GET", path, &secret, "").await.ok();
        assert!(
            !page.html.contains("href=\"/console/accounts\""),
            "{path} has the navigation of administrators"
        );
        assert!(!page.text().contains("Bob"), "{path}");
    }
    let first = console.ask("GET", "/console", &secret, "").await;
    assert_eq!((first.status, &*first.location), (303, "/console/mine"));
    let own = format!("/console/keys/{key}");
    let page = console.ask("GET", &own, &secret, "").await.ok();
    assert!(!page.html.contains("limits.usd_daily"), "a member can set limits");
    let page =
        console.ask("GET", &format!("/console/keys/{other}"), &secret, "").await.well_formed();
    assert_eq!(page.status, 404);
    let version = console.ask("GET", &own, &secret, "").await.field("edit", "version");
    let form = format!("name=mine&enabled=true&version={version}");
    let saved = console.ask("POST", &own, &secret, &form).await;
    assert_eq!((saved.status, saved.location), (303, format!("{own}?done=saved")));
    assert_eq!(console.api("GET", &format!("/keys/{key}"), &json!({})).await["name"], "mine");
    for (path, form) in [("/console/keys", "name=x"), ("/console/accounts", "name=x")] {
        let refused = console.ask("POST", path, &secret, form).await.well_formed();
        assert_eq!(refused.status, 403, "{path}");
    }
}

#[tokio::test]
async fn key_secret_is_shown_once() {
    let console = ConsoleClient::open().await;
    let once = console.get("/console/keys/new").await.ok().field("create", "once");
    let fields = [("name", "ci"), ("enabled", "true"), ("limits.usd_daily", "5"), ("once", &*once)];
    let made = console.post("/console/keys", &fields).await.ok();
    let secret = made.html.split("id=\"secret\">").nth(1).and_then(|rest| rest.split('<').next());
    let secret = secret.expect("a secret").to_owned();
    assert!(secret.starts_with("bt_"));
    assert!(
        made.html.contains(&format!("ANTHROPIC_AUTH_TOKEN={secret}")),
        "the example does not contain the key"
    );
    assert_eq!(made.headers["cache-control"], "no-store");
    // Sending the same form again creates no second key.
    console.post("/console/keys", &fields).await.ok();
    let keys = console.api("GET", "/keys", &json!({})).await;
    assert_eq!(keys["data"].as_array().map(Vec::len), Some(1));
    let id = keys["data"][0]["id"].as_str().expect("an id").to_owned();
    let own = format!("/console/keys/{id}");
    for path in ["/console", "/console/audit", "/console/connect", &own].iter().chain(&ADMINS) {
        assert!(!console.get(path).await.html.contains(&secret), "{path}");
    }
    let version = console.get(&own).await.field("rotate", "version");
    let rotated = console.post(&format!("{own}/rotate"), &[("version", &version)]).await.ok();
    assert!(rotated.html.contains("bt_") && !rotated.html.contains(&secret));
}

#[tokio::test]
async fn rejected_form_keeps_its_values_and_shows_the_reason() {
    let console = ConsoleClient::open().await;
    let fields = [
        ("name", "main"),
        ("base_url", "nonsense"),
        ("enabled", "true"),
        ("credential.value", "sk-secret"),
    ];
    let page = console.post("/console/accounts", &fields).await.well_formed();
    assert_eq!(page.status, 400);
    assert!(page.text().contains("“Base URL”: "), "{}", page.text());
    assert_eq!(page.field("create-api_key", "base_url"), "nonsense");
    assert!(!page.html.contains("sk-secret"), "a secret is not sent back");

    // The first missing field of the form is named first.
    let page = console.post("/console/accounts", &[("name", ""), ("enabled", "true")]).await;
    assert!(page.well_formed().text().contains("“Name” is missing"));

    let fields = [("name", "team"), ("enabled", "true"), ("model_aliases", "foo")];
    let page = console.post("/console/groups", &fields).await.well_formed();
    assert_eq!(page.status, 400);
    let sentence = "“Model aliases”: line 1 `foo` must be `requested = served`";
    assert!(page.text().contains(sentence), "{}", page.text());
    assert!(page.html.contains("foo</textarea>"), "the form lost its input: {}", page.html);
    let fields = [("name", "team"), ("enabled", "true"), ("limits.usd_daily", "-1")];
    let page = console.post("/console/groups", &fields).await.well_formed();
    let sentence = "“Daily budget”: expected 0 or more, or leave it empty for no limit";
    assert!(page.text().contains(sentence), "{}", page.text());

    let group = console.api("POST", "/groups", &json!({"name": "research"})).await;
    let here = format!("/console/groups/{}", group["id"].as_str().expect("an id"));
    let version = console.get(&here).await.field("edit", "version");
    let api = here.replace("/console", "");
    console.api("PATCH", &api, &json!({"description": "by somebody else"})).await;
    let fields = [("name", "mine"), ("enabled", "true"), ("version", &*version)];
    let page = console.post(&here, &fields).await.well_formed();
    assert_eq!(page.status, 412);
    assert!(page.text().contains("Somebody else has changed this"), "{}", page.text());
    assert_eq!(page.field("edit", "name"), "mine");
    let page = console.post(&format!("{here}/delete"), &[("version", "1")]).await.well_formed();
    assert_eq!(page.status, 412);
}

#[tokio::test]
async fn console_changes_go_through_the_api() {
    let console = ConsoleClient::open().await;
    let made = console.post("/console/groups", &[("name", "research"), ("enabled", "true")]).await;
    assert_eq!(made.status, 303, "{}", made.text());
    let here = made.location.split('?').next().expect("a path").to_owned();
    let version = console.get(&here).await.ok().field("edit", "version");
    let fields = [
        ("name", "science"),
        ("description", "d"),
        ("limits.usd_daily", "1.50"),
        ("version", &*version),
    ];
    assert_eq!(console.post(&here, &fields).await.status, 303);
    let view = console.api("GET", &here.replace("/console", ""), &json!({})).await;
    assert_eq!((&view["name"], &view["enabled"]), (&json!("science"), &json!(false)));
    let audit = console.get("/console/audit").await.ok().text();
    assert!(audit.contains("research science"), "before and after: {audit}");
    let rows = console.api("GET", "/audit", &json!({})).await;
    assert_eq!(rows["data"][0]["actor"], "admin_token");
    let version = console.get(&here).await.field("remove", "version");
    let gone = console.post(&format!("{here}/delete"), &[("version", &version)]).await;
    assert_eq!((gone.status, &*gone.location), (303, "/console/groups?done=deleted"));
    assert!(console.get(&gone.location).await.ok().text().contains("Deleted."));
}

#[tokio::test]
async fn hostile_names_are_escaped() {
    let console = ConsoleClient::open().await;
    let names = [
        "<script>alert(1)</script>".to_owned(),
        "\"><img src=x onerror=alert(1)>'&amp;".to_owned(),
        "\u{202e}live\u{200f} שלום".to_owned(),
        "n".repeat(200),
    ];
    for name in &names {
        console
            .api("POST", "/groups", &json!({"name": name, "description": name.repeat(10)}))
            .await;
        console.member(name).await;
        let body = json!({
            "name": name, "base_url": "http://127.0.0.1:9", "cache_domain": name,
            "credential": {"type": "api_key", "value": "sk-upstream"},
        });
        console.api("POST", "/accounts", &body).await;
    }
    let listed = console.api("GET", "/groups", &json!({})).await;
    let groups = listed["data"].as_array().cloned().unwrap_or_default();
    let own = groups
        .iter()
        .map(|one| format!("/console/groups/{}", one["id"].as_str().unwrap_or_default()));
    let lists = ["/console"].iter().chain(&OPEN).chain(&ADMINS).map(|path| (*path).to_owned());
    let queries = [
        "/console/keys?q=%22%3E%3Cscript%3E".to_owned(),
        "/console/connect?relay=%22%3E%3Cscript%3E".to_owned(),
        "/console/requests?model=%3Cscript%3E".to_owned(),
    ];
    for path in lists.chain(own).chain(queries) {
        let page = console.get(&path).await.ok();
        assert!(!page.html.contains("<script>") && !page.html.contains("<img"), "{path}");
        assert!(page.html.len() < BYTES_MAX, "{path}: {}", page.html.len());
    }
    for path in ["/console/keys/..%2Fusers", "/console/keys/a%3Fb", "/console/nothing"] {
        let page = console.get(path).await.well_formed();
        assert_eq!(page.status, 404, "{path}");
    }
}

#[tokio::test]
async fn overview_needs_at_most_five_calls() {
    let console = ConsoleClient::open().await;
    console.company(1_000, 100, 10).await;
    let page = console.get("/console").await.ok();
    assert!(page.calls.len() <= 5, "{:?}", page.calls);
    let text = page.text();
    assert!(text.contains("Today's top keys (1,000 in use)"), "{text}");
    assert!(text.contains("100 ready"), "{text}");
    let overview = console.api("GET", "/overview", &json!({})).await;
    let summary =
        console.api("GET", "/usage/summary?from=2026-11-22&to=2026-11-22", &json!({})).await;
    let today = overview["days"].as_array().and_then(|days| days.last()).expect("today");
    for field in ["requests", "errors", "tokens", "cost_usd", "cache_hit_rate", "ttft_ms_avg"] {
        assert_eq!(today[field], summary["data"][0][field], "{field}");
    }
    let by = "/usage/summary?from=2026-11-22&to=2026-11-22&by=model";
    let by_model = console.api("GET", by, &json!({})).await;
    for row in overview["models"].as_array().expect("models") {
        let all = by_model["data"].as_array().expect("data");
        let same = all.iter().find(|one| one["group"]["model"] == row["model"]).expect("the model");
        assert_eq!(row["cost_usd"], same["cost_usd"]);
    }
}

#[tokio::test]
async fn request_page_shows_all_details() {
    let console = ConsoleClient::open().await;
    console.company(3, 2, 40).await;
    let list = console.get("/console/requests?outcome=complete").await.ok();
    let href = list.html.split("href=\"").find(|part| part.starts_with("/console/requests/req_"));
    let href = href.and_then(|part| part.split('"').next()).expect("a request");
    let page = console.get(&href.replace("&#38;", "&").replace("&amp;", "&")).await.ok();
    for label in [
        "Time to first token",
        "Accounts tried",
        "Tokens read from the cache",
        "Cost in US dollars",
    ] {
        assert!(page.text().contains(label), "{label}: {}", page.text());
    }
    let next =
        list.html.split("href=\"").find(|part| part.contains("cursor=")).expect("a next page");
    let next =
        next.split('"').next().expect("an address").replace("&#38;", "&").replace("&amp;", "&");
    let second = console.get(&next).await.ok();
    assert!(second.html.contains("First page"));
    for path in ["/console/requests", "/console/audit"] {
        let query = "from=yesterday&to=2026-11-22";
        let bad = console.get(&format!("{path}?{query}")).await.well_formed();
        assert_eq!(bad.status, 400);
        assert!(bad.text().contains("“From”: expected a time"), "{}", bad.text());
        assert_eq!(bad.field("filter", "to"), "2026-11-22", "{path} lost the filter");
    }
}

#[tokio::test]
async fn alerts_page_changes_settings() {
    let console = ConsoleClient::open().await;
    let page = console.get("/console/alerts").await.ok();
    assert!(page.text().contains("No alert is waiting to be delivered."), "{}", page.text());
    let nowhere = console.post("/console/alerts/test", &[]).await.ok();
    assert!(nowhere.text().contains("there is nowhere to send it"), "{}", nowhere.text());
    let version = page.field("edit", "version");
    let url = "http://127.0.0.1:9/hooks/SECRET-PATH";
    let fields = [
        ("url", url),
        ("form", "slack"),
        ("percents", "10, 90"),
        ("sns_topic_arn", ""),
        ("version", &*version),
    ];
    let made = console.post("/console/alerts", &fields).await.ok();
    assert!(made.html.contains("id=\"secret\""), "the signing secret is not shown");
    let alerts = console.api("GET", "/alerts", &json!({})).await;
    assert_eq!((&alerts["form"], &alerts["thresholds"]), (&json!("slack"), &json!([10, 90])));
    let page = console.get("/console/alerts").await.ok();
    assert_eq!(page.field("edit", "percents"), "10, 90");
    assert!(page.text().contains("127.0.0.1") && !page.html.contains("SECRET-PATH"));
    let sent = console.post("/console/alerts/test", &[]).await.ok();
    assert!(sent.text().contains("webhook 0"), "no delivery is listed: {}", sent.text());
    let version = page.field("edit", "version");
    let odd = [("form", "json"), ("percents", "50, all"), ("version", &*version)];
    let refused = console.post("/console/alerts", &odd).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.field("edit", "percents"), "50, all", "the form lost its input");
    let sentence = "“Thresholds”: expected at most 10 whole numbers from 1 to 100";
    assert!(refused.text().contains(sentence), "{}", refused.text());
    let high = [("form", "json"), ("percents", "50, 101"), ("version", &*version)];
    let refused = console.post("/console/alerts", &high).await;
    assert!(refused.text().contains(sentence), "{}", refused.text());
    let both = [("url", url), ("form", "json"), ("no_webhook", "true"), ("version", &*version)];
    let refused = console.post("/console/alerts", &both).await;
    assert!(refused.text().contains("exclude each other"), "{}", refused.text());
    let gone =
        [("form", "json"), ("percents", "50"), ("no_webhook", "true"), ("version", &version)];
    let gone = console.post("/console/alerts", &gone).await;
    assert_eq!((gone.status, &*gone.location), (303, "/console/alerts?done=saved"));
    let alerts = console.api("GET", "/alerts", &json!({})).await;
    assert!(alerts["url_host"].is_null(), "{alerts}");
}

#[tokio::test]
async fn root_redirects_and_theme_is_stored() {
    let console = ConsoleClient::open().await;
    let browser = console.get("/").await;
    assert_eq!((browser.status, &*browser.location), (303, "/console"));
    let dark =
        console.post("/console/theme", &[("theme", "dark"), ("back", "/console/keys")]).await;
    assert_eq!((dark.status, &*dark.location), (303, "/console/keys"));
    assert!(dark.headers["set-cookie"].to_str().expect("text").contains("baton_theme=dark"));
    let away = console.post("/console/theme", &[("back", "//evil.example")]).await;
    assert_eq!(away.location, "/console");
    let page = console.ask("GET", "/console/settings", ADMIN_TOKEN, "").await.ok();
    assert!(page.headers.contains_key("content-security-policy"));
}

#[tokio::test]
async fn base_url_is_changed_together_with_the_credential() {
    let console = ConsoleClient::open().await;
    let body = json!({
        "name": "main", "base_url": "http://127.0.0.1:9",
        "credential": {"type": "api_key", "value": "sk-upstream"},
    });
    let account = console.api("POST", "/accounts", &body).await;
    let here = format!("/console/accounts/{}", account["id"].as_str().expect("an id"));
    let page = console.get(&here).await.ok();
    assert!(page.text().contains("API key sent in x-api-key"), "{}", page.text());
    let version = page.field("edit", "version");
    let fields = [
        ("name", "main"),
        ("provider", "anthropic"),
        ("base_url", "http://127.0.0.1:10"),
        ("groups", "grp_default"),
        ("enabled", "true"),
        ("priority", "100"),
        ("weight", "100"),
        ("version", &*version),
    ];
    let refused = console.post(&here, &fields).await.well_formed();
    assert_eq!(refused.status, 400);
    for sentence in ["“Base URL” decides where", "use the form “Replace the credential” below"]
    {
        assert!(refused.text().contains(sentence), "{}", refused.text());
    }
    let page = console.get(&here).await.ok();
    assert_eq!(page.field("replace-api_key", "base_url"), "http://127.0.0.1:9");
    let version = page.field("replace-api_key", "version");
    let fields = [
        ("credential.type", "api_key"),
        ("credential.value", "sk-other"),
        ("credential.header", "x-api-key"),
        ("provider", "anthropic"),
        ("base_url", "http://127.0.0.1:10"),
        ("proxy_url", ""),
        ("version", &*version),
    ];
    let moved = console.post(&format!("{here}/credential"), &fields).await;
    assert_eq!((moved.status, &*moved.location), (303, &*format!("{here}?done=saved")));
    let view = console.api("GET", &here.replace("/console", ""), &json!({})).await;
    assert_eq!(view["base_url"], "http://127.0.0.1:10");
}

#[tokio::test]
async fn account_without_a_token_says_so() {
    let console = ConsoleClient::open().await;
    let credential = json!({
        "type": "oauth2", "token_url": "http://127.0.0.1:9/token", "client_id": "baton",
        "refresh_token": "rt",
    });
    let body = json!({"name": "main", "base_url": "http://127.0.0.1:9", "credential": credential});
    let account = console.api("POST", "/accounts", &body).await;
    let api = format!("/accounts/{}", account["id"].as_str().expect("an id"));
    let view = console.api("GET", &api, &json!({})).await;
    assert_eq!((&view["status"], &view["has_token"]), (&json!("ready"), &json!(false)));
    for path in [format!("/console{api}"), "/console/accounts".into(), "/console".into()] {
        let page = console.get(&path).await.ok();
        assert!(page.text().contains("no token"), "{path}: {}", page.text());
    }
    let tested = console.post(&format!("/console{api}/test"), &[]).await.ok();
    let advice = "The account has no token yet. Use “Renew token now”, or sign in again.";
    assert!(tested.text().contains(advice), "{}", tested.text());
}

#[tokio::test]
async fn second_user_with_the_same_email_is_refused() {
    let console = ConsoleClient::open().await;
    let ada = json!({"name": "ada", "email": "Ada@example.com"});
    let ada = console.api("POST", "/users", &ada).await;
    let fields = [("name", "bob"), ("email", "ada@example.com"), ("enabled", "true")];
    let page = console.post("/console/users", &fields).await.well_formed();
    assert_eq!(page.status, 409);
    assert!(page.text().contains("“E-mail”: user ada already has this address"), "{}", page.text());
    // A user can keep its own address.
    let path = format!("/users/{}", ada["id"].as_str().expect("an id"));
    console.api("PATCH", &path, &json!({"email": "ada@example.com"})).await;
}
