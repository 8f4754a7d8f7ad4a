//! Sessions of the console: what a page costs, what may change something, and what ends them.

use baton_tests::signing_in::{FakeProvider, SignInSystem, TOKEN, TestBrowser};
use serde_json::{Value, json};

/// Somebody who is signed in by a key of this user.
async fn holder(desk: &SignInSystem, user: &str) -> (TestBrowser, String) {
    let (id, key) = desk.key_of(user).await;
    let mut visitor = desk.visitor();
    visitor.sign_in(&key).await.leads_to("/console");
    (visitor, id)
}

#[tokio::test]
async fn a_page_costs_one_read_and_a_write_now_and_then() {
    let provider = FakeProvider::start();
    let desk = SignInSystem::with(&provider, &[]).await;
    let ada = desk.user(json!({"name": "Ada", "email": "ada@example.com"})).await;
    let (by_key, _) = holder(&desk, &ada).await;
    let mut by_token = desk.visitor();
    by_token.sign_in(TOKEN).await;
    let mut by_provider = desk.visitor();
    by_provider.sign_in_at_provider().await.leads_to("/console");
    for mut visitor in [by_key, by_token, by_provider] {
        desk.calls();
        assert!(visitor.known_as().await.is_some());
        assert_eq!(desk.calls(), ["BatchGetItem"]);
    }
    desk.wait_minutes(5);
    let mut visitor = desk.visitor();
    assert_eq!(visitor.known_as().await, None);
    assert_eq!(desk.calls(), Vec::<String>::new(), "without a cookie there is nothing to read");
    visitor.sign_in(TOKEN).await;
    desk.wait_minutes(5);
    desk.calls();
    assert!(visitor.known_as().await.is_some() && visitor.known_as().await.is_some());
    assert_eq!(desk.calls(), ["BatchGetItem", "UpdateItem", "BatchGetItem"]);
}

#[tokio::test]
async fn a_session_is_for_pages_and_names_are_text() {
    let desk = SignInSystem::alone().await;
    let ada = desk.user(json!({"name": "<script>Ada</script> & \"co\""})).await;
    let (mut visitor, _) = holder(&desk, &ada).await;
    let page = visitor.open("/console/connect").await.answer.ok().text();
    assert!(page.contains("Ada") && !page.contains("<script>"), "{page}");
    // The API takes no cookies, so nobody can make a browser use it.
    for path in ["/api/v1/keys", "/v1/organizations/spend_limits"] {
        visitor.open(path).await.answer.status(401);
    }
}

#[tokio::test]
async fn a_session_ends_unused_and_ends_old() {
    let desk = SignInSystem::alone().await;
    let mut busy = desk.visitor();
    busy.sign_in(TOKEN).await;
    for minute in (0..720).step_by(30) {
        assert!(busy.known_as().await.is_some(), "minute {minute}");
        desk.wait_minutes(30);
    }
    assert_eq!(busy.known_as().await, None, "after twelve hours");
    assert!(busy.cookie("baton").is_none(), "the browser forgets it");

    let mut idle = desk.visitor();
    idle.sign_in(TOKEN).await;
    desk.wait_minutes(59);
    assert!(idle.clone().known_as().await.is_some());
    desk.wait_minutes(60);
    assert_eq!(idle.known_as().await, None, "an hour unused");
}

#[tokio::test]
async fn signing_out_ends_the_session_for_every_copy_of_its_cookie() {
    let desk = SignInSystem::alone().await;
    let mut visitor = desk.visitor();
    visitor.sign_in(TOKEN).await;
    let mut copy = visitor.clone();
    let csrf = visitor.open("/console/connect").await.field("csrf");
    let page = visitor.submit("/console/sign-out", &[("csrf", &csrf)]).await;
    page.leads_to("/console/sign-in?why=signed_out");
    assert!(visitor.cookie("baton").is_none());
    assert_eq!(copy.known_as().await, None);
    let row = &desk.audit("sign_out").await[0];
    assert_eq!(row["actor"], "admin_token");
    assert!(
        visitor.open("/console/sign-in?why=signed_out").await.answer.text().contains("signed out")
    );
}

#[tokio::test]
async fn a_session_is_made_at_sign_in_and_never_taken_over() {
    let desk = SignInSystem::alone().await;
    let planted = format!("token.{}", "a".repeat(43));
    let mut visitor = desk.visitor();
    visitor.plant("baton", &planted);
    assert_eq!(visitor.known_as().await, None);
    visitor.plant("baton", &planted);
    visitor.sign_in(TOKEN).await;
    let first = visitor.cookie("baton").expect("a session").to_owned();
    assert_ne!(first, planted);
    let mut earlier = visitor.clone();
    visitor.sign_in(TOKEN).await;
    assert_ne!(visitor.cookie("baton"), Some(&*first), "a new one each time");
    assert_eq!(earlier.known_as().await, None, "the one before is over");
    assert!(visitor.known_as().await.is_some());
}

#[tokio::test]
async fn a_cookie_that_was_changed_opens_nothing() {
    let desk = SignInSystem::alone().await;
    let (ada, bob) =
        (desk.user(json!({"name": "Ada"})).await, desk.user(json!({"name": "Bob"})).await);
    let (visitor, key) = holder(&desk, &ada).await;
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
        let mut other = desk.visitor();
        other.plant("baton", &changed);
        assert_eq!(other.known_as().await, None, "{changed}");
    }
}

#[tokio::test]
async fn changes_are_made_from_own_pages_only() {
    let desk = SignInSystem::alone().await;
    let (mut visitor, mut other) = (desk.visitor(), desk.visitor());
    visitor.sign_in(TOKEN).await;
    other.sign_in(TOKEN).await;
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
        assert_eq!(page.answer.status, 403, "{method} as no form");
    }
    assert!(visitor.known_as().await.is_some(), "nothing has happened");
    // A script says it in a header.
    let request = visitor.request("POST", "/console/sign-out").header("x-csrf-token", &csrf);
    visitor.send(request).await.leads_to("/console/sign-in?why=signed_out");
}

#[tokio::test]
async fn session_ends_with_its_basis() {
    let desk = SignInSystem::alone().await;
    let admin = desk.admin();
    let user = async |fields: &Value, id: &str| {
        admin.patch(&format!("/users/{id}"), fields).await.ok();
    };
    let key = async |fields: &Value, id: &str| {
        admin.patch(&format!("/keys/{id}"), fields).await.ok();
    };
    for what in ["disabled", "role", "key disabled", "rotated", "expired", "given away", "deleted"]
    {
        let ada = desk.user(json!({"name": format!("Ada, {what}")})).await;
        let bob = desk.user(json!({"name": format!("Bob, {what}")})).await;
        let (mut visitor, id) = holder(&desk, &ada).await;
        assert!(visitor.clone().known_as().await.is_some());
        let name = format!("Ada Lovelace, {what}");
        user(&json!({"name": name}), &ada).await;
        assert_eq!(visitor.clone().known_as().await, Some(name), "no reason");
        match what {
            "disabled" => {
                user(&json!({"enabled": false}), &ada).await;
                assert_eq!(visitor.clone().known_as().await, None);
                // It does not come back to life.
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
            "expired" => key(&json!({"expires_at": "2026-11-22T21:00:00Z"}), &id).await,
            "given away" => key(&json!({"user_id": bob}), &id).await,
            _ => {
                admin.delete(&format!("/keys/{id}")).await.status(204);
            }
        }
        assert_eq!(visitor.known_as().await, None, "{what}");
    }
    let ada = desk.user(json!({"name": "Ada"})).await;
    let (visitor, _) = holder(&desk, &ada).await;
    admin.patch("/settings", &json!({"member_access": false})).await.ok();
    assert_eq!(visitor.clone().known_as().await, None, "locked out");
    let (_, key) = desk.key_of(&ada).await;
    let page = desk.visitor().sign_in(&key).await;
    assert!(page.answer.text().contains("Members have access"), "{}", page.answer.text());
}

#[tokio::test]
async fn another_admin_token_ends_the_sessions_of_the_one_before() {
    let desk = SignInSystem::alone().await;
    let mut visitor = desk.visitor();
    visitor.sign_in(TOKEN).await;
    let another = desk.again_with_token("another-token-0123456789").await;
    let mut there = another.visitor();
    there.plant("baton", visitor.cookie("baton").expect("a session"));
    assert_eq!(there.known_as().await, None);
    assert!(visitor.known_as().await.is_some());
}
