//! Sign-ins by OpenID: addresses that resemble others, accounts that changed owners, disabled
//! members, and strangers who start sign-ins without end.

use crate::class::AttackClass;
use baton_test_harness::signing_in::{FakeProvider, SignInSystem};
use serde_json::json;

pub(crate) async fn run(class: AttackClass) {
    let provider = FakeProvider::start();
    Box::pin(addresses(&class, &provider)).await;
    Box::pin(hands(&class, &provider)).await;
    Box::pin(locked_out(&class, &provider)).await;
    Box::pin(crowds(&class, &provider)).await;
}

async fn addresses(class: &AttackClass, provider: &FakeProvider) {
    let system = SignInSystem::with(provider, &[]).await;
    for (name, email) in
        [("Jack", "jack@example.com"), ("Ike", "ike@example.com"), ("Boss", "boss@example.com")]
    {
        system.user(json!({"name": name, "email": email, "role": "admin"})).await;
    }
    for email in [
        "jac\u{212a}@example.com",
        "\u{130}ke@example.com",
        "\u{131}ke@example.com",
        "bo\u{17f}s@example.com",
        "b\u{43e}ss@example.com",
        "\u{ff42}oss@example.com",
        "boss\u{200b}@example.com",
        "boss@example.com\u{200b}",
        "bo\u{df}@example.com",
        "boss@ex\u{430}mple.com",
        "boss@example.com ",
        " boss@example.com",
        "boss@example.com\n",
        "boss@example.com\u{0}",
        "\"boss@example.com\"@evil.example",
        "<boss@example.com>",
        "evil@evil.example,boss@example.com",
        "boss@example.com@evil.example",
        "boss@example.com.",
        "boss@EXAMPLE.com.evil.example",
        "b\u{f6}ss@example.com",
    ] {
        provider.change_next(json!({"email": email, "sub": email, "email_verified": true}));
        let mut visitor = system.visitor();
        let page = visitor.sign_in_at_provider().await;
        let is_out = page.location().contains("why=") && visitor.known_as().await.is_none();
        class.check(&format!("{email:?}"), is_out, || page.location());
    }
    provider
        .change_next(json!({"email": "BOSS@Example.COM", "sub": "boss", "email_verified": true}));
    let page = system.visitor().sign_in_at_provider().await;
    class.check("the address in capitals", page.location() == "/console", || page.location());
}

async fn hands(class: &AttackClass, provider: &FakeProvider) {
    let system = SignInSystem::with(provider, &[]).await;
    let ada = system.user(json!({"name": "Ada", "email": "ada@example.com"})).await;
    let come = async |sub: &str| {
        provider
            .change_next(json!({"email": "ada@example.com", "sub": sub, "email_verified": true}));
        system.visitor().sign_in_at_provider().await.location()
    };
    let first = come("first").await;
    class.check("whoever comes first", first == "/console", || first.clone());
    let again = come("first").await;
    class.check("the same again", again == "/console", || again.clone());
    for sub in ["second", "First", "first ", "FIRST", ""] {
        let other = come(sub).await;
        class.check(
            &format!("the address in other hands: {sub:?}"),
            other.contains("why="),
            || other.clone(),
        );
    }
    let path = format!("/users/{ada}");
    system.admin().patch(&path, &json!({"email": "ada@example.com"})).await.ok();
    let second = come("second").await;
    class.check("after an administrator has set it again", second == "/console", || second.clone());
}

async fn locked_out(class: &AttackClass, provider: &FakeProvider) {
    let system = SignInSystem::with(provider, &[]).await;
    system.user(json!({"name": "Ada", "email": "ada@example.com"})).await;
    system.user(json!({"name": "Root", "email": "root@example.com", "role": "admin"})).await;
    let ada = json!({"email": "ada@example.com", "sub": "a", "email_verified": true});
    let root = json!({"email": "root@example.com", "sub": "r", "email_verified": true});
    let mut before = system.visitor();
    provider.change_next(ada.clone());
    before.sign_in_at_provider().await.leads_to("/console");
    let known = before.known_as().await;
    class.check("a member signs in", known.is_some(), || format!("{known:?}"));
    system.admin().patch("/settings", &json!({"member_access": false})).await.ok();
    for page in ["/console/mine", "/console/requests", "/console/connect", "/console/mine/usage"] {
        let status = before.open(page).await.answer.status;
        class.check(&format!("a session under way: {page}"), status == 303, || status.to_string());
    }
    provider.change_next(ada.clone());
    let page = system.visitor().sign_in_at_provider().await;
    let is_out = page.location().contains("why=locked_out");
    class.check("a member who is locked out", is_out, || page.location());
    provider.change_next(root);
    let page = system.visitor().sign_in_at_provider().await;
    class.check("an administrator", page.location() == "/console", || page.location());
    system.admin().patch("/settings", &json!({"member_access": true})).await.ok();
    provider.change_next(ada);
    let page = system.visitor().sign_in_at_provider().await;
    class.check("a member who may again", page.location() == "/console", || page.location());
}

async fn crowds(class: &AttackClass, provider: &FakeProvider) {
    let system = SignInSystem::with(provider, &[]).await;
    system.user(json!({"name": "Ada", "email": "ada@example.com"})).await;
    let person = json!({"email": "ada@example.com", "sub": "a", "email_verified": true});
    let mut early = system.visitor();
    provider.change_next(person.clone());
    let way_back = early.way_back().await;
    drop(system.calls());
    for _ in 0..300 {
        let begun = system.visitor().open("/console/sign-in/openid").await;
        let leads_on = begun.location().starts_with("http");
        class.check("a stranger begins", leads_on, || begun.location());
    }
    let calls = system.calls();
    class.check("what they leave in the store", calls.is_empty(), || {
        format!("{} calls", calls.len())
    });
    let page = early.open(&way_back).await;
    class.check("who was there before them", page.location() == "/console", || page.location());
    provider.change_next(person);
    let page = system.visitor().sign_in_at_provider().await;
    class.check("who comes after them", page.location() == "/console", || page.location());
    // A state that was created elsewhere, or for another browser, is not valid.
    let mut visitor = system.visitor();
    let way_back = visitor.way_back().await;
    let state =
        way_back.split("state=").nth(1).and_then(|it| it.split('&').next()).unwrap_or_default();
    for forged in
        ["x", "", ".", "AAAA.AAAA", &state[1..], &format!("{state}A"), &state.replace('.', "")]
    {
        let page = visitor.open(&way_back.replace(state, forged)).await;
        let is_late = page.location().contains("why=");
        class.check(&format!("state {forged}"), is_late, || page.location());
    }
    let page = system.visitor().open(&way_back).await;
    class
        .check("another browser's state", page.location().contains("why=late"), || page.location());
}
