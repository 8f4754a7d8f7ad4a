//! Console sessions: the store calls of a page, which requests can change something, and what ends
//! a session.

use baton_test_harness::signing_in::{FakeProvider, SignInSystem, TestBrowser};
use baton_test_harness::system::ADMIN_TOKEN;
use serde_json::{Value, json};

/// A browser that is signed in with a new key of this user, and the key's id.
async fn signed_in_browser(system: &SignInSystem, user: &str) -> (TestBrowser, String) {
    let (id, key) = system.key_of(user).await;
    let mut visitor = system.visitor();
    visitor.sign_in(&key).await.leads_to("/console");
    (visitor, id)
}

#[tokio::test]
async fn page_costs_one_read_and_rarely_a_write() {
    let provider = FakeProvider::start();
    let system = SignInSystem::with(&provider, &[]).await;
    let ada = system.user(json!({"name": "Ada", "email": "ada@example.com"})).await;
    let (by_key, _) = signed_in_browser(&system, &ada).await;
    let mut by_token = system.visitor();
    by_token.sign_in(ADMIN_TOKEN).await;
    let mut by_provider = system.visitor();
    by_provider.sign_in_at_provider().await.leads_to("/console");
    for mut visitor in [by_key, by_token, by_provider] {
        system.calls();
        assert!(visitor.known_as().await.is_some());
        assert_eq!(system.calls(), ["BatchGetItem"]);
    }
    system.wait_minutes(5);
    let mut visitor = system.visitor();
    assert_eq!(visitor.known_as().await, None);
    assert_eq!(system.calls(), Vec::<String>::new(), "a page without a cookie read the store");
    visitor.sign_in(ADMIN_TOKEN).await;
    system.wait_minutes(5);
    system.calls();
    assert!(visitor.known_as().await.is_some() && visitor.known_as().await.is_some());
    assert_eq!(system.calls(), ["BatchGetItem", "UpdateItem", "BatchGetItem"]);
}

#[tokio::test]
async fn session_is_for_pages_only_and_names_are_escaped() {
    let system = SignInSystem::alone().await;
    let ada = system.user(json!({"name": "<script>Ada</script> & \"co\""})).await;
    let (mut visitor, _) = signed_in_browser(&system, &ada).await;
    let page = visitor.open("/console/connect").await.answer.ok().text();
    assert!(page.contains("Ada") && !page.contains("<script>"), "{page}");
    // The API ignores cookies, so another site cannot use a browser's session for it.
    for path in ["/api/v1/keys", "/v1/organizations/spend_limits"] {
        visitor.open(path).await.answer.status(401);
    }
}

#[tokio::test]
async fn session_ends_after_idle_time_and_maximum_age() {
    let system = SignInSystem::alone().await;
    let mut active = system.visitor();
    active.sign_in(ADMIN_TOKEN).await;
    for minute in (0..720).step_by(30) {
        assert!(active.known_as().await.is_some(), "minute {minute}");
        system.wait_minutes(30);
    }
    assert_eq!(active.known_as().await, None, "after twelve hours");
    assert!(active.cookie("baton").is_none(), "the cookie is still there");

    let mut idle = system.visitor();
    idle.sign_in(ADMIN_TOKEN).await;
    system.wait_minutes(59);
    assert!(idle.clone().known_as().await.is_some());
    system.wait_minutes(60);
    assert_eq!(idle.known_as().await, None, "after an hour without use");
}

#[tokio::test]
async fn sign_out_ends_all_copies_of_the_cookie() {
    let system = SignInSystem::alone().await;
    let mut visitor = system.visitor();
    visitor.sign_in(ADMIN_TOKEN).await;
    let mut copy = visitor.clone();
    let csrf = visitor.open("/console/connect").await.field("csrf");
    let page = visitor.submit("/console/sign-out", &[("csrf", &csrf)]).await;
    page.leads_to("/console/sign-in?why=signed_out");
    assert!(visitor.cookie("baton").is_none());
    assert_eq!(copy.known_as().await, None);
    let row = &system.audit("sign_out").await[0];
    assert_eq!(row["actor"], "admin_token");
    assert!(
        visitor.open("/console/sign-in?why=signed_out").await.answer.text().contains("signed out")
    );
}

#[tokio::test]
async fn planted_session_is_replaced_at_sign_in() {
    let system = SignInSystem::alone().await;
    let planted = format!("token.{}", "a".repeat(43));
    let mut visitor = system.visitor();
    visitor.plant("baton", &planted);
    assert_eq!(visitor.known_as().await, None);
    visitor.plant("baton", &planted);
    visitor.sign_in(ADMIN_TOKEN).await;
    let first = visitor.cookie("baton").expect("a session").to_owned();
    assert_ne!(first, planted);
    let mut earlier = visitor.clone();
    visitor.sign_in(ADMIN_TOKEN).await;
    assert_ne!(visitor.cookie("baton"), Some(&*first), "the session was reused");
    assert_eq!(earlier.known_as().await, None, "the previous session is still valid");
    assert!(visitor.known_as().await.is_some());
}

#[tokio::test]
async fn changed_cookie_is_invalid() {
    let system = SignInSystem::alone().await;
    let (ada, bob) =
        (system.user(json!({"name": "Ada"})).await, system.user(json!({"name": "Bob"})).await);
    let (visitor, key) = signed_in_browser(&system, &ada).await;
    let cookie = visitor.cookie("baton").expect("a session").to_owned();
    let random = cookie.rsplit_once('.').expect("a random part").1.to_owned();
    assert_eq!(cookie, format!("{key}.{ada}.{random}"));
    for changed in [
        format!("token.{random}"),
        format!("{ada}.{random}"),
        format!("{key}.{bob}.{random}"),
        format!("{cookie}x"),
        random,
        "...".to_owned(),
        "ü".to_owned(),
    ] {
        let mut other = system.visitor();
        other.plant("baton", &changed);
        assert_eq!(other.known_as().await, None, "{changed}");
    }
}

#[tokio::test]
async fn cross_site_changes_get_403() {
    let system = SignInSystem::alone().await;
    let (mut visitor, mut other) = (system.visitor(), system.visitor());
    visitor.sign_in(ADMIN_TOKEN).await;
    other.sign_in(ADMIN_TOKEN).await;
    let csrf = visitor.open("/console/connect").await.field("csrf");
    let foreign = other.open("/console/connect").await.field("csrf");
    let refused = async |visitor: &TestBrowser, csrf: &str| {
        let page = visitor.clone().submit("/console/sign-out", &[("csrf", csrf)]).await;
        assert_eq!(page.answer.status, 403);
        assert!(page.answer.text().contains("reload the page"), "{}", page.answer.text());
    };
    refused(&visitor, "").await;
    refused(&visitor, &foreign).await;
    refused(&visitor.clone().with("x-csrf-token", &foreign), &csrf).await;
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        refused(&visitor.clone().with(name, value), &csrf).await;
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "ODD"] {
        let request = visitor.request(method, "/console/any").body(format!("csrf={csrf}"));
        let page = visitor.clone().send(request).await;
        assert_eq!(page.answer.status, 403, "{method} without a form");
    }
    assert!(visitor.known_as().await.is_some(), "a refused request ended the session");
    // A script sends the CSRF token in a header.
    let request = visitor.request("POST", "/console/sign-out").header("x-csrf-token", &csrf);
    visitor.send(request).await.leads_to("/console/sign-in?why=signed_out");
}

#[tokio::test]
async fn session_ends_with_its_basis() {
    let system = SignInSystem::alone().await;
    let admin = system.admin();
    let user = async |fields: &Value, id: &str| {
        admin.patch(&format!("/users/{id}"), fields).await.ok();
    };
    let key = async |fields: &Value, id: &str| {
        admin.patch(&format!("/keys/{id}"), fields).await.ok();
    };
    for what in ["disabled", "role", "key disabled", "rotated", "expired", "given away", "deleted"]
    {
        let ada = system.user(json!({"name": format!("Ada, {what}")})).await;
        let bob = system.user(json!({"name": format!("Bob, {what}")})).await;
        let (mut visitor, id) = signed_in_browser(&system, &ada).await;
        assert!(visitor.clone().known_as().await.is_some());
        let name = format!("Ada Lovelace, {what}");
        user(&json!({"name": name}), &ada).await;
        assert_eq!(visitor.clone().known_as().await, Some(name), "a new name ended the session");
        match what {
            "disabled" => {
                user(&json!({"enabled": false}), &ada).await;
                assert_eq!(visitor.clone().known_as().await, None);
                // Enabling the user again does not restore the session.
                user(&json!({"enabled": true}), &ada).await;
            }
            "role" => {
                user(&json!({"role": "admin"}), &ada).await;
                user(&json!({"role": "member"}), &ada).await;
            }
            "key disabled" => key(&json!({"enabled": false}), &id).await,
            "rotated" => {
                admin.post(&format!("/keys/{id}/rotate"), &json!({})).await.ok();
            }
            "expired" => {
                key(&json!({"expires_at": "2026-11-22T21:06:00Z"}), &id).await;
                system.wait_minutes(1);
            }
            "given away" => key(&json!({"user_id": bob}), &id).await,
            _ => {
                admin.delete(&format!("/keys/{id}")).await.status(204);
            }
        }
        assert_eq!(visitor.known_as().await, None, "{what}");
    }
    let ada = system.user(json!({"name": "Ada"})).await;
    let (visitor, _) = signed_in_browser(&system, &ada).await;
    admin.patch("/settings", &json!({"member_access": false})).await.ok();
    assert_eq!(visitor.clone().known_as().await, None, "a member has access");
    let (_, key) = system.key_of(&ada).await;
    let page = system.visitor().sign_in(&key).await;
    assert!(page.answer.text().contains("Members have access"), "{}", page.answer.text());
}

#[tokio::test]
async fn new_admin_token_ends_old_sessions() {
    let system = SignInSystem::alone().await;
    let mut visitor = system.visitor();
    visitor.sign_in(ADMIN_TOKEN).await;
    let another = system.again_with_token("another-token-0123456789");
    let mut there = another.visitor();
    there.plant("baton", visitor.cookie("baton").expect("a session"));
    assert_eq!(there.known_as().await, None);
    assert!(visitor.known_as().await.is_some());
}
