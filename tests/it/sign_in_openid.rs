//! Signing in to the console at an identity provider: whom it lets in, and what is not believed.

use baton_tests::house::LaunchOptions;
use baton_tests::signing_in::{FakeProvider, SignInSystem, TOKEN, TokenForgery};
use serde_json::{Value, json};

/// A desk where Ada is a user.
async fn with_ada(provider: &FakeProvider, variables: &[(&str, &str)]) -> (SignInSystem, String) {
    let desk = SignInSystem::with(provider, variables).await;
    let ada = desk.user(json!({"name": "Ada", "email": "Ada@example.com"})).await;
    (desk, ada)
}

/// What the newest visitor sees of whether it may everything.
async fn is_admin(desk: &SignInSystem) -> bool {
    let mut visitor = desk.visitor();
    visitor.sign_in_at_provider().await.leads_to("/console");
    let page = visitor.open("/console/connect").await.answer.ok().text();
    page.contains("href=\"/console/accounts\"")
}

#[tokio::test]
async fn a_user_signs_in_by_its_verified_address() {
    let provider = FakeProvider::start();
    let (desk, ada) = with_ada(&provider, &[]).await;
    let mut visitor = desk.visitor();
    let page = visitor.open("/console/sign-in?next=%2Fconsole%2Fconnect").await.answer.ok().text();
    assert!(page.contains("/console/sign-in/openid?next=%2Fconsole%2Fconnect"), "{page}");
    let begun = visitor.open("/console/sign-in/openid?next=%2Fconsole%2Fconnect").await;
    let there = visitor.send(visitor.request("GET", &begun.location())).await;
    visitor.open(&there.location()).await.leads_to("/console/connect");
    assert_eq!(visitor.known_as().await.as_deref(), Some("Ada"));
    let row = &desk.audit("sign_in").await[0];
    assert_eq!(row["actor"], json!(ada));
    let said = json!({"by": "openid", "issuer": provider.issuer(), "subject": "ada-1"});
    assert_eq!(row["after"], said);
    // What it says of itself is asked for once.
    desk.visitor().sign_in_at_provider().await.leads_to("/console");
    assert_eq!(provider.asked("/.well-known/openid-configuration"), 1);
    assert_eq!((provider.asked("/keys"), provider.asked("/token")), (1, 2));
}

#[tokio::test]
async fn keys_are_rotated_and_both_kinds_are_taken() {
    let provider = FakeProvider::start();
    let (desk, _) = with_ada(&provider, &[]).await;
    desk.visitor().sign_in_at_provider().await.leads_to("/console");
    provider.rotate_to_ec("key-2");
    desk.wait_minutes(1);
    desk.visitor().sign_in_at_provider().await.leads_to("/console");
    provider.rotate_to_rsa("key-3");
    // Asked for once every ten seconds at most, whoever signs with whatever.
    let why = "/console/sign-in?why=unbelievable";
    desk.visitor().sign_in_at_provider().await.leads_to(why);
    assert_eq!(provider.asked("/keys"), 2);
    desk.wait_minutes(1);
    desk.visitor().sign_in_at_provider().await.leads_to("/console");
    assert_eq!(provider.asked("/keys"), 3);
}

#[tokio::test]
async fn tokens_that_are_not_as_they_must_be_are_not_believed() {
    let provider = FakeProvider::start();
    let (desk, _) = with_ada(&provider, &[]).await;
    let now = desk.clock.now().as_second();
    let refused = async |what: &str| {
        let mut visitor = desk.visitor();
        let page = visitor.sign_in_at_provider().await;
        assert_eq!(page.location(), "/console/sign-in?why=unbelievable", "{what}");
        assert!(page.cookies().is_empty() && visitor.known_as().await.is_none(), "{what}");
    };
    for forgery in [
        TokenForgery::AlgNone,
        TokenForgery::Unsigned,
        TokenForgery::Tampered,
        TokenForgery::OtherKey,
        TokenForgery::UnknownKey,
        TokenForgery::PublicAsSecret,
        TokenForgery::Critical,
    ] {
        provider.forge_next(forgery);
        refused(&format!("{forgery:?}")).await;
    }
    for changes in [
        json!({"iss": "https://evil.example"}),
        json!({"iss": format!("{}/", provider.issuer())}),
        json!({"aud": "another client"}),
        json!({"aud": ["baton console", "another"]}),
        json!({"azp": "another"}),
        json!({"nonce": "of another sign-in"}),
        json!({"nonce": null}),
        json!({"exp": now - 60}),
        json!({"exp": null}),
        json!({"iat": now + 61}),
        json!({"nbf": now + 61}),
        json!({"sub": null}),
    ] {
        provider.change_next(changes.clone());
        refused(&changes.to_string()).await;
    }
    provider.rotate_to_ec("key-2");
    desk.wait_minutes(1);
    for forgery in [
        TokenForgery::Unsigned,
        TokenForgery::Tampered,
        TokenForgery::OtherKey,
        TokenForgery::PublicAsSecret,
    ] {
        provider.forge_next(forgery);
        refused(&format!("{forgery:?} of EC")).await;
    }
    // Clocks differ a little.
    provider.change_next(json!({"exp": desk.clock.now().as_second() - 59}));
    desk.visitor().sign_in_at_provider().await.leads_to("/console");
    assert_eq!(desk.audit("sign_in").await.len(), 1);
}

#[tokio::test]
async fn an_address_counts_when_it_is_verified() {
    let provider = FakeProvider::start();
    let (desk, _) = with_ada(&provider, &[]).await;
    for change in [
        json!({"email_verified": false}),
        json!({"email_verified": null}),
        json!({"email_verified": "yes"}),
        json!({"email": "ada"}),
    ] {
        provider.change_next(change);
        let page = desk.visitor().sign_in_at_provider().await;
        page.leads_to("/console/sign-in?why=unverified");
    }
    // Some tell it beside the token, of the same person.
    let away = json!({"email": null, "email_verified": null});
    let beside = json!({"sub": "ada-1", "email": "ada@example.com", "email_verified": true});
    provider.change_next(away.clone());
    provider.tell_beside(beside.clone());
    desk.visitor().sign_in_at_provider().await.leads_to("/console");
    provider.change_next(away);
    let mut other = beside;
    other["sub"] = "eve-1".into();
    provider.tell_beside(other);
    let page = desk.visitor().sign_in_at_provider().await;
    page.leads_to("/console/sign-in?why=unverified");
}

#[tokio::test]
async fn a_way_back_is_good_once_in_one_browser_and_for_ten_minutes() {
    let provider = FakeProvider::start();
    let (desk, _) = with_ada(&provider, &[]).await;
    let late = "/console/sign-in?why=late";
    let mut visitor = desk.visitor();
    let callback = visitor.way_back().await;
    visitor.clone().open(&callback).await.leads_to("/console");
    visitor.open(&callback).await.leads_to(late);

    // The same state with another code, and the same code with another state.
    let used = callback.split("code=").nth(1).and_then(|it| it.split('&').next()).expect("a code");
    let callback = visitor.way_back().await;
    let fresh = callback.split("code=").nth(1).and_then(|it| it.split('&').next()).expect("a code");
    visitor.open(&callback.replace(fresh, used)).await.leads_to("/console/sign-in?why=unhelpful");
    visitor.open(&callback).await.leads_to(late);

    let callback = visitor.way_back().await;
    desk.visitor().open(&callback).await.leads_to(late);
    let mut other = desk.visitor();
    other.open("/console/sign-in").await;
    let callback = visitor.way_back().await;
    other.open(&callback).await.leads_to(late);
    assert_eq!(other.known_as().await, None, "nobody is signed in as somebody else");

    let callback = visitor.way_back().await;
    desk.wait_minutes(10);
    visitor.open(&callback).await.leads_to(late);
    for odd in ["", "?state=x", "?code=x", "?state=&code=x", "?error=access_denied"] {
        visitor.open(&format!("/console/sign-in/openid/callback{odd}")).await.leads_to(late);
    }
    assert_eq!(visitor.known_as().await, None);
}

#[tokio::test]
async fn callback_must_come_from_this_provider() {
    let provider = FakeProvider::start();
    provider.describe(json!({"authorization_response_iss_parameter_supported": true}));
    let (desk, _) = with_ada(&provider, &[]).await;
    let mut visitor = desk.visitor();
    let why = "/console/sign-in?why=unbelievable";
    let callback = visitor.way_back().await;
    let (without, _) = callback.split_once("&iss=").expect("an issuer");
    visitor.open(without).await.leads_to(why);
    let callback = visitor.way_back().await;
    let (rest, _) = callback.split_once("&iss=").expect("an issuer");
    visitor.open(&format!("{rest}&iss=https%3A%2F%2Fevil.example")).await.leads_to(why);
    let callback = visitor.way_back().await;
    let (path, query) = callback.split_once('?').expect("a query");
    let state = query.split('&').find(|it| it.starts_with("state=")).expect("a state");
    let page = visitor.open(&format!("{path}?error=access_denied&{state}")).await;
    page.leads_to("/console/sign-in?why=declined");
    assert_eq!(provider.asked("/token"), 0);
    visitor.sign_in_at_provider().await.leads_to("/console");
}

#[tokio::test]
async fn only_known_people_come_in() {
    let provider = FakeProvider::start();
    let (desk, ada) = with_ada(&provider, &[]).await;
    let nobody = "/console/sign-in?why=nobody";
    provider.change_next(json!({"email": "eve@example.com"}));
    desk.visitor().sign_in_at_provider().await.leads_to(nobody);
    desk.admin().patch(&format!("/users/{ada}"), &json!({"enabled": false})).await.ok();
    desk.visitor().sign_in_at_provider().await.leads_to(nobody);
    desk.user(json!({"name": "Ada 2", "email": "ada@example.com"})).await;
    desk.visitor().sign_in_at_provider().await.leads_to(nobody);

    let (desk, _) = with_ada(&provider, &[("OIDC_ALLOWED", "example.org")]).await;
    desk.visitor().sign_in_at_provider().await.leads_to(nobody);
    let (desk, _) = with_ada(&provider, &[("OIDC_ALLOWED", "example.org, ada@example.com")]).await;
    desk.visitor().sign_in_at_provider().await.leads_to("/console");
}

#[tokio::test]
async fn people_of_a_domain_become_users_once() {
    let provider = FakeProvider::start();
    let variables = [("OIDC_ALLOWED", "example.com"), ("OIDC_CREATE_USERS", "1")];
    let desk = SignInSystem::with(&provider, &variables).await;
    for _ in 0..2 {
        desk.visitor().sign_in_at_provider().await.leads_to("/console");
    }
    let users = desk.admin().get("/users").await.ok().json();
    let [ada] = users["data"].as_array().expect("users").as_slice() else { panic!("{users}") };
    let fields = (&ada["name"], &ada["email"], &ada["role"]);
    assert_eq!(fields, (&json!("Ada"), &json!("ada@example.com"), &json!("member")));
    assert_eq!(ada.get("session_round"), None);
    let row = &desk.audit("create").await[0];
    assert_eq!((&row["actor"], &row["target"]), (&json!("baton"), &ada["id"]));
    provider.change_next(json!({"email": "eve@sub.example.com", "sub": "eve"}));
    let page = desk.visitor().sign_in_at_provider().await;
    page.leads_to("/console/sign-in?why=nobody");
    // A user that was switched off is not made again.
    let path = format!("/users/{}", ada["id"].as_str().expect("an id"));
    desk.admin().patch(&path, &json!({"enabled": false})).await.ok();
    let page = desk.visitor().sign_in_at_provider().await;
    page.leads_to("/console/sign-in?why=nobody");
}

#[tokio::test]
async fn a_claim_decides_the_role_if_one_is_named() {
    let provider = FakeProvider::start();
    let (desk, ada) = with_ada(&provider, &[]).await;
    assert!(!is_admin(&desk).await);
    let path = format!("/users/{ada}");
    desk.admin().patch(&path, &json!({"role": "admin"})).await.ok();
    assert!(is_admin(&desk).await);

    let (desk, ada) = with_ada(&provider, &[("OIDC_ADMIN_CLAIM", "groups=baton-admins")]).await;
    let path = format!("/users/{ada}");
    provider.change_next(json!({"groups": ["staff", "baton-admins"]}));
    let mut first = desk.visitor();
    first.sign_in_at_provider().await.leads_to("/console");
    assert_eq!(desk.admin().get(&path).await.json()["role"], "admin");
    let row: &Value = &desk.audit("update").await[0];
    assert_eq!((&row["actor"], &row["after"]["role"]), (&json!("baton"), &json!("admin")));
    assert!(first.known_as().await.is_some());
    provider.change_next(json!({"groups": ["staff"]}));
    assert!(!is_admin(&desk).await);
    assert_eq!(desk.admin().get(&path).await.json()["role"], "member");
    assert_eq!(first.known_as().await, None, "the administrator's session is over");
}

#[tokio::test]
async fn a_provider_that_does_not_help_leaves_the_token() {
    let provider = FakeProvider::start();
    provider.describe(json!({"issuer": "https://evil.example"}));
    let (desk, _) = with_ada(&provider, &[]).await;
    let begun = desk.visitor().open("/console/sign-in/openid").await;
    begun.leads_to("/console/sign-in?why=unhelpful");
    provider.describe(json!({"authorization_endpoint": "javascript:alert(1)"}));
    let begun = desk.visitor().open("/console/sign-in/openid").await;
    begun.leads_to("/console/sign-in?why=unhelpful");
    desk.visitor().sign_in(TOKEN).await.leads_to("/console");

    // Private addresses are for those who permit them.
    let desk = SignInSystem::with(&provider, &[("ALLOW_PRIVATE_UPSTREAMS", "0")]).await;
    let before = provider.asked("/.well-known/openid-configuration");
    let begun = desk.visitor().open("/console/sign-in/openid").await;
    begun.leads_to("/console/sign-in?why=unhelpful");
    assert_eq!(provider.asked("/.well-known/openid-configuration"), before);

    let desk = SignInSystem::alone().await;
    let begun = desk.visitor().open("/console/sign-in/openid").await;
    assert_eq!(begun.answer.status, 404);
    let page = desk.visitor().open("/console/sign-in").await.answer.text();
    assert!(!page.contains("organization"), "{page}");
}

#[tokio::test]
async fn strangers_cannot_start_a_sign_in_for_a_browser() {
    let provider = FakeProvider::start();
    let (desk, _) = with_ada(&provider, &[]).await;
    let led = desk.visitor().with("sec-fetch-site", "cross-site");
    led.clone().open("/console/sign-in/openid").await.leads_to("/console/sign-in");
    // However many strangers begin, nobody's place is taken.
    for _ in 0..200 {
        let begun = desk.visitor().open("/console/sign-in/openid").await;
        assert!(begun.location().starts_with("http"), "{}", begun.location());
    }
    let mut visitor = desk.visitor();
    desk.visitor().sign_in(TOKEN).await.leads_to("/console");
    visitor.sign_in_at_provider().await.leads_to("/console");
}

#[tokio::test]
async fn the_secret_goes_as_the_provider_takes_it() {
    let provider = FakeProvider::start();
    for methods in
        [json!(["client_secret_basic", "client_secret_post"]), json!(["client_secret_post"])]
    {
        provider.describe(json!({"token_endpoint_auth_methods_supported": methods}));
        let (desk, _) = with_ada(&provider, &[]).await;
        desk.visitor().sign_in_at_provider().await.leads_to("/console");
    }
    let (desk, _) = with_ada(&provider, &[("OIDC_CLIENT_SECRET", "wrong")]).await;
    let page = desk.visitor().sign_in_at_provider().await;
    page.leads_to("/console/sign-in?why=unhelpful");
}

#[tokio::test]
async fn bad_settings_of_a_provider_are_said_at_start() {
    let mut house = LaunchOptions::new()
        .env("BATON_OIDC_ISSUER", "https://id.example")
        .env("BATON_OIDC_CREATE_USERS", "1")
        .spawn();
    let ended = house.ended();
    for name in ["BATON_OIDC_CLIENT_ID", "BATON_OIDC_ALLOWED"] {
        assert!(ended.stderr.contains(name), "{}", ended.stderr);
    }
}
