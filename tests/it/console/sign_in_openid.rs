//! Signing in to the console at an identity provider: who gets in, and which tokens are refused.

use baton_test_harness::signing_in::{FakeProvider, SignInSystem, TokenForgery};
use baton_test_harness::system::{ADMIN_TOKEN, TestSystem};
use serde_json::{Value, json};

/// A sign-in system where Ada is a user.
async fn with_ada(provider: &FakeProvider, variables: &[(&str, &str)]) -> (SignInSystem, String) {
    let system = SignInSystem::with(provider, variables).await;
    let ada = system.user(json!({"name": "Ada", "email": "Ada@example.com"})).await;
    (system, ada)
}

/// Signs in a new browser and returns whether it has the role admin.
async fn is_admin(system: &SignInSystem) -> bool {
    let mut visitor = system.visitor();
    visitor.sign_in_at_provider().await.leads_to("/console");
    let page = visitor.open("/console/connect").await.answer.ok().text();
    page.contains("href=\"/console/accounts\"")
}

#[tokio::test]
async fn user_signs_in_by_verified_address() {
    let provider = FakeProvider::start();
    let (system, ada) = with_ada(&provider, &[]).await;
    let mut visitor = system.visitor();
    let page = visitor.open("/console/sign-in?next=%2Fconsole%2Fconnect").await.answer.ok().text();
    assert!(page.contains("/console/sign-in/openid?next=%2Fconsole%2Fconnect"), "{page}");
    let begun = visitor.open("/console/sign-in/openid?next=%2Fconsole%2Fconnect").await;
    let there = visitor.send(visitor.request("GET", &begun.location())).await;
    visitor.open(&there.location()).await.leads_to("/console/connect");
    assert_eq!(visitor.known_as().await.as_deref(), Some("Ada"));
    let row = &system.audit("sign_in").await[0];
    assert_eq!(row["actor"], json!(ada));
    let after = json!({"by": "openid", "issuer": provider.issuer(), "subject": "ada-1"});
    assert_eq!(row["after"], after);
    // The provider's metadata is fetched once.
    system.visitor().sign_in_at_provider().await.leads_to("/console");
    assert_eq!(provider.request_count("/.well-known/openid-configuration"), 1);
    assert_eq!((provider.request_count("/keys"), provider.request_count("/token")), (1, 2));
}

#[tokio::test]
async fn rotated_rsa_and_ec_keys_are_accepted() {
    let provider = FakeProvider::start();
    let (system, _) = with_ada(&provider, &[]).await;
    system.visitor().sign_in_at_provider().await.leads_to("/console");
    provider.rotate_to_ec("key-2");
    system.wait_minutes(1);
    system.visitor().sign_in_at_provider().await.leads_to("/console");
    provider.rotate_to_rsa("key-3");
    // The keys are fetched at most once every ten seconds, whatever signs a token.
    let why = "/console/sign-in?why=unbelievable";
    system.visitor().sign_in_at_provider().await.leads_to(why);
    assert_eq!(provider.request_count("/keys"), 2);
    system.wait_minutes(1);
    system.visitor().sign_in_at_provider().await.leads_to("/console");
    assert_eq!(provider.request_count("/keys"), 3);
}

#[tokio::test]
async fn invalid_id_tokens_are_refused() {
    let provider = FakeProvider::start();
    let (system, _) = with_ada(&provider, &[]).await;
    let now = system.clock.now().as_second();
    let refused = async |case: &str| {
        let mut visitor = system.visitor();
        let page = visitor.sign_in_at_provider().await;
        assert_eq!(page.location(), "/console/sign-in?why=unbelievable", "{case}");
        assert!(page.cookies().is_empty() && visitor.known_as().await.is_none(), "{case}");
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
    system.wait_minutes(1);
    for forgery in [
        TokenForgery::Unsigned,
        TokenForgery::Tampered,
        TokenForgery::OtherKey,
        TokenForgery::PublicAsSecret,
    ] {
        provider.forge_next(forgery);
        refused(&format!("{forgery:?} of EC")).await;
    }
    // Clocks can differ by a little.
    provider.change_next(json!({"exp": system.clock.now().as_second() - 59}));
    system.visitor().sign_in_at_provider().await.leads_to("/console");
    assert_eq!(system.audit("sign_in").await.len(), 1);
}

#[tokio::test]
async fn unverified_address_is_refused() {
    let provider = FakeProvider::start();
    let (system, _) = with_ada(&provider, &[]).await;
    for change in [
        json!({"email_verified": false}),
        json!({"email_verified": null}),
        json!({"email_verified": "yes"}),
        json!({"email": "ada"}),
    ] {
        provider.change_next(change);
        let page = system.visitor().sign_in_at_provider().await;
        page.leads_to("/console/sign-in?why=unverified");
    }
    // Some providers return the address from the userinfo endpoint. It must be of the same subject.
    let away = json!({"email": null, "email_verified": null});
    let userinfo = json!({"sub": "ada-1", "email": "ada@example.com", "email_verified": true});
    provider.change_next(away.clone());
    provider.set_userinfo(userinfo.clone());
    system.visitor().sign_in_at_provider().await.leads_to("/console");
    provider.change_next(away);
    let mut other = userinfo;
    other["sub"] = "eve-1".into();
    provider.set_userinfo(other);
    let page = system.visitor().sign_in_at_provider().await;
    page.leads_to("/console/sign-in?why=unverified");
}

#[tokio::test]
async fn callback_works_once_in_one_browser_for_ten_minutes() {
    let provider = FakeProvider::start();
    let (system, _) = with_ada(&provider, &[]).await;
    let late = "/console/sign-in?why=late";
    let mut visitor = system.visitor();
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
    system.visitor().open(&callback).await.leads_to(late);
    let mut other = system.visitor();
    other.open("/console/sign-in").await;
    let callback = visitor.way_back().await;
    other.open(&callback).await.leads_to(late);
    assert_eq!(other.known_as().await, None, "another browser is signed in");

    let callback = visitor.way_back().await;
    system.wait_minutes(10);
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
    let (system, _) = with_ada(&provider, &[]).await;
    let mut visitor = system.visitor();
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
    assert_eq!(provider.request_count("/token"), 0);
    visitor.sign_in_at_provider().await.leads_to("/console");
}

#[tokio::test]
async fn only_known_users_can_sign_in() {
    let provider = FakeProvider::start();
    let (system, ada) = with_ada(&provider, &[]).await;
    let refused = "/console/sign-in?why=nobody";
    provider.change_next(json!({"email": "eve@example.com"}));
    system.visitor().sign_in_at_provider().await.leads_to(refused);
    system.admin().patch(&format!("/users/{ada}"), &json!({"enabled": false})).await.ok();
    system.visitor().sign_in_at_provider().await.leads_to(refused);
    let admin = system.admin();
    admin.patch(&format!("/users/{ada}"), &json!({"enabled": true})).await.ok();
    let second = json!({"name": "Ada 2", "email": "ada@example.com"});
    admin.post("/users", &second).await.refused(409, "conflict_error");
    system.store_second_user("Ada 2", "ada@example.com").await;
    system.visitor().sign_in_at_provider().await.leads_to(refused);

    let (system, _) = with_ada(&provider, &[("OIDC_ALLOWED", "example.org")]).await;
    system.visitor().sign_in_at_provider().await.leads_to(refused);
    let (system, _) =
        with_ada(&provider, &[("OIDC_ALLOWED", "example.org, ada@example.com")]).await;
    system.visitor().sign_in_at_provider().await.leads_to("/console");
}

#[tokio::test]
async fn users_of_allowed_domain_are_created_once() {
    let provider = FakeProvider::start();
    let variables = [("OIDC_ALLOWED", "example.com"), ("OIDC_CREATE_USERS", "1")];
    let system = SignInSystem::with(&provider, &variables).await;
    for _ in 0..2 {
        system.visitor().sign_in_at_provider().await.leads_to("/console");
    }
    let users = system.admin().get("/users").await.ok().json();
    let [ada] = users["data"].as_array().expect("users").as_slice() else { panic!("{users}") };
    let fields = (&ada["name"], &ada["email"], &ada["role"]);
    assert_eq!(fields, (&json!("Ada"), &json!("ada@example.com"), &json!("member")));
    assert_eq!(ada.get("session_round"), None);
    let row = &system.audit("create").await[0];
    assert_eq!((&row["actor"], &row["target"]), (&json!("baton"), &ada["id"]));
    provider.change_next(json!({"email": "eve@sub.example.com", "sub": "eve"}));
    let page = system.visitor().sign_in_at_provider().await;
    page.leads_to("/console/sign-in?why=nobody");
    // A disabled user is not created again.
    let path = format!("/users/{}", ada["id"].as_str().expect("an id"));
    system.admin().patch(&path, &json!({"enabled": false})).await.ok();
    let page = system.visitor().sign_in_at_provider().await;
    page.leads_to("/console/sign-in?why=nobody");
}

#[tokio::test]
async fn admin_claim_sets_the_role() {
    let provider = FakeProvider::start();
    let (system, ada) = with_ada(&provider, &[]).await;
    assert!(!is_admin(&system).await);
    let path = format!("/users/{ada}");
    system.admin().patch(&path, &json!({"role": "admin"})).await.ok();
    assert!(is_admin(&system).await);

    let (system, ada) = with_ada(&provider, &[("OIDC_ADMIN_CLAIM", "groups=baton-admins")]).await;
    let path = format!("/users/{ada}");
    provider.change_next(json!({"groups": ["staff", "baton-admins"]}));
    let mut first = system.visitor();
    first.sign_in_at_provider().await.leads_to("/console");
    assert_eq!(system.admin().get(&path).await.json()["role"], "admin");
    let row: &Value = &system.audit("update").await[0];
    assert_eq!((&row["actor"], &row["after"]["role"]), (&json!("baton"), &json!("admin")));
    assert!(first.known_as().await.is_some());
    provider.change_next(json!({"groups": ["staff"]}));
    assert!(!is_admin(&system).await);
    assert_eq!(system.admin().get(&path).await.json()["role"], "member");
    assert_eq!(first.known_as().await, None, "the administrator's session is still valid");
}

#[tokio::test]
async fn failing_provider_leaves_token_sign_in() {
    let provider = FakeProvider::start();
    provider.describe(json!({"issuer": "https://evil.example"}));
    let (system, _) = with_ada(&provider, &[]).await;
    let begun = system.visitor().open("/console/sign-in/openid").await;
    begun.leads_to("/console/sign-in?why=unhelpful");
    provider.describe(json!({"authorization_endpoint": "javascript:alert(1)"}));
    let begun = system.visitor().open("/console/sign-in/openid").await;
    begun.leads_to("/console/sign-in?why=unhelpful");
    system.visitor().sign_in(ADMIN_TOKEN).await.leads_to("/console");

    // Private addresses need `BATON_ALLOW_PRIVATE_UPSTREAMS`.
    let system = SignInSystem::with(&provider, &[("ALLOW_PRIVATE_UPSTREAMS", "0")]).await;
    let before = provider.request_count("/.well-known/openid-configuration");
    let begun = system.visitor().open("/console/sign-in/openid").await;
    begun.leads_to("/console/sign-in?why=unhelpful");
    assert_eq!(provider.request_count("/.well-known/openid-configuration"), before);

    let system = SignInSystem::alone().await;
    let begun = system.visitor().open("/console/sign-in/openid").await;
    assert_eq!(begun.answer.status, 404);
    let page = system.visitor().open("/console/sign-in").await.answer.text();
    assert!(!page.contains("organization"), "{page}");
}

#[tokio::test]
async fn cross_site_sign_in_start_is_refused() {
    let provider = FakeProvider::start();
    let (system, _) = with_ada(&provider, &[]).await;
    let cross_site = system.visitor().with("sec-fetch-site", "cross-site");
    cross_site.clone().open("/console/sign-in/openid").await.leads_to("/console/sign-in");
    // Sign-ins that strangers begin do not displace others.
    for _ in 0..200 {
        let begun = system.visitor().open("/console/sign-in/openid").await;
        assert!(begun.location().starts_with("http"), "{}", begun.location());
    }
    let mut visitor = system.visitor();
    system.visitor().sign_in(ADMIN_TOKEN).await.leads_to("/console");
    visitor.sign_in_at_provider().await.leads_to("/console");
}

#[tokio::test]
async fn client_secret_uses_supported_method() {
    let provider = FakeProvider::start();
    for methods in
        [json!(["client_secret_basic", "client_secret_post"]), json!(["client_secret_post"])]
    {
        provider.describe(json!({"token_endpoint_auth_methods_supported": methods}));
        let (system, _) = with_ada(&provider, &[]).await;
        system.visitor().sign_in_at_provider().await.leads_to("/console");
    }
    let (system, _) = with_ada(&provider, &[("OIDC_CLIENT_SECRET", "wrong")]).await;
    let page = system.visitor().sign_in_at_provider().await;
    page.leads_to("/console/sign-in?why=unhelpful");
}

#[tokio::test]
async fn invalid_provider_settings_are_named_at_start() {
    let mut system = TestSystem::builder()
        .env("BATON_OIDC_ISSUER", "https://id.example")
        .env("BATON_OIDC_CREATE_USERS", "1")
        .spawn();
    let ended = system.ended();
    for name in ["BATON_OIDC_CLIENT_ID", "BATON_OIDC_ALLOWED"] {
        assert!(ended.stderr.contains(name), "{}", ended.stderr);
    }
}
