//! Accounts with short-lived tokens, as operators make them and clients use them.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_tests::client_response::ClientResponse;
use baton_tests::eventually::eventually;
use baton_tests::house::{LaunchOptions, TestSystem};
use baton_tests::token_endpoint::{EndpointFault, FakeTokenEndpoint};
use baton_tests::upstream::FakeUpstream;
use serde_json::{Value, json};

/// A signed JWT as far as anybody can tell who does not know the signer.
const IDENTITY: &str = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln";
const SOON: Duration = Duration::from_secs(20);

fn oauth2(endpoint: &FakeTokenEndpoint) -> Value {
    json!({
        "type": "oauth2", "token_url": endpoint.url(), "client_id": "baton",
        "client_secret": "cs-secret", "refresh_token": "rt-0",
    })
}

/// The credential that the upstream's last request came with.
fn credential(upstream: &FakeUpstream) -> Option<String> {
    upstream.last().request.header("authorization").map(str::to_owned)
}

#[tokio::test]
async fn the_only_account_is_waited_for_until_it_is_signed_in() {
    let (house, endpoint) = (TestSystem::empty().await, FakeTokenEndpoint::start());
    house
        .account_with("main", &house.upstream.url(), json!({"credential": oauth2(&endpoint)}))
        .await;
    let key = house.key("ci").create().await;
    key.ask("hi").await.ok();
    assert_eq!(credential(&house.upstream).as_deref(), Some("Bearer at-1"));
    let beta = house.upstream.last().request.header("anthropic-beta").map(str::to_owned);
    assert_eq!(beta.as_deref(), Some("oauth-2025-04-20"));
    assert!(house.upstream.last().request.header("x-api-key").is_none());
    assert_eq!(endpoint.last()["client_secret"], "cs-secret");
    key.ask("again").await.ok();
    assert_eq!(endpoint.issued(), 1, "one token serves many requests");
}

#[tokio::test]
async fn an_endpoint_that_wants_it_gets_the_secret_in_a_header() {
    let (house, endpoint) = (TestSystem::empty().await, FakeTokenEndpoint::start());
    let credential = json!({
        "type": "oauth2", "token_url": endpoint.url(), "client_id": "baton",
        "client_secret": "cs-secret", "token_endpoint_auth_method": "client_secret_basic",
    });
    house.account_with("main", &house.upstream.url(), json!({"credential": credential})).await;
    house.key("ci").create().await.ask("hi").await.ok();
    let last = endpoint.last();
    // printf baton:cs-secret | base64
    assert_eq!(last["authorization"], "Basic YmF0b246Y3Mtc2VjcmV0");
    assert_eq!(last["grant_type"], "client_credentials");
    assert!(last.get("client_secret").is_none() && last.get("client_id").is_none(), "{last}");
}

#[tokio::test]
async fn another_account_is_taken_while_one_cannot_sign_in() {
    let (house, endpoint) = (TestSystem::open().await, FakeTokenEndpoint::start());
    for _ in 0..50 {
        endpoint.next(EndpointFault::Unavailable);
    }
    let fields = json!({"credential": oauth2(&endpoint), "priority": 1});
    let id = house.account_with("first", &house.upstream.url(), fields).await;
    let key = house.key("ci").create().await;
    key.ask("hi").await.ok();
    assert_eq!(credential(&house.upstream), None, "the static key of the other");
    let account = house.admin().get(&format!("/accounts/{id}")).await.ok().json();
    assert_eq!(account["status"], "ready", "trouble on the way disables nothing");
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_and_the_request_goes_elsewhere() {
    let (house, endpoint) = (TestSystem::open().await, FakeTokenEndpoint::start());
    let bearer = FakeUpstream::start();
    let fields = json!({"credential": oauth2(&endpoint), "priority": 1});
    let id = house.account_with("first", &bearer.url(), fields).await;
    // The scheduled refresh may be at it, too.
    refreshed(&house, &format!("/accounts/{id}")).await.ok();
    let issued = endpoint.issued();
    bearer.next("status:401");
    let key = house.key("ci").create().await;
    key.ask("hi").await.ok();
    let renewed =
        async || if endpoint.issued() == issued + 1 { Ok(()) } else { Err(endpoint.issued()) };
    eventually("a new token", SOON, renewed).await;
    eventually("the new token ends the rest", SOON, async || {
        let account = house.admin().get(&format!("/accounts/{id}")).await.ok().json();
        if account["status"] == "ready" { Ok(()) } else { Err(account) }
    })
    .await;
    // The session that had to leave stays where it went; another one does not leave.
    key.ask("hi from another session").await.ok();
    assert_eq!(bearer.exchanges_on("/v1/messages").len(), 2, "it is used again at once");
}

#[tokio::test]
async fn the_only_accounts_refused_token_is_renewed_and_the_same_request_served() {
    let (house, endpoint) = (TestSystem::empty().await, FakeTokenEndpoint::start());
    let fields = json!({"credential": oauth2(&endpoint)});
    let id = house.account_with("only", &house.upstream.url(), fields).await;
    let key = house.key("ci").create().await;
    key.ask("hi").await.ok();
    let issued = endpoint.issued();
    house.upstream.next("status:401");
    key.ask("the token is refused now").await.ok();
    assert_eq!(endpoint.issued(), issued + 1);
    assert_eq!(house.upstream.exchanges_on("/v1/messages").len(), 3);
    // Whoever asks meanwhile or after that is served, too.
    key.ask("hi").await.ok();
    let account = house.admin().get(&format!("/accounts/{id}")).await.ok().json();
    assert_eq!(account["status"], "ready", "{account}");
    // A request that is refused whatever the token costs no token each time.
    house.upstream.next("status:401");
    key.ask("hi").await;
    assert!(endpoint.issued() <= issued + 2, "{}", endpoint.issued());
}

#[tokio::test]
async fn a_grant_that_is_refused_is_shown_and_a_new_credential_helps() {
    let (house, endpoint) = (TestSystem::empty().await, FakeTokenEndpoint::start());
    // The scheduled refresh may come first.
    (0..10).for_each(|_| endpoint.next(EndpointFault::Refuses));
    let fields = json!({"credential": oauth2(&endpoint)});
    let id = house.account_with("main", &house.upstream.url(), fields).await;
    let path = format!("/accounts/{id}");
    let refused = refreshed(&house, &path).await;
    refused.status(400);
    let account = house.admin().get(&path).await.ok().json();
    assert_eq!(account["status"], "auth_failed", "{account}");
    assert!(account["status_reason"].as_str().is_some_and(|why| why.contains("invalid_grant")));
    let again = json!({"credential": {"type": "oauth2", "token_url": endpoint.url(),
        "client_id": "baton", "refresh_token": "rt-new"}});
    endpoint.recovers();
    house.admin().patch(&path, &again).await.ok();
    refreshed(&house, &path).await.ok();
    assert_eq!(house.admin().get(&path).await.ok().json()["status"], "ready");
}

/// What a wish for a new token is answered once nobody else renews it.
async fn refreshed(house: &TestSystem, path: &str) -> ClientResponse {
    eventually("nobody else renews it", SOON, async || {
        let answer = house.admin().post(&format!("{path}/refresh"), &json!({})).await;
        if answer.status == 409 { Err(answer.text()) } else { Ok(answer) }
    })
    .await
}

#[tokio::test]
async fn a_browser_signs_an_account_in() {
    let (house, endpoint) = (TestSystem::empty().await, FakeTokenEndpoint::start());
    let start = json!({
        "authorization_url": "http://127.0.0.1:9/authorize", "token_url": endpoint.url(),
        "client_id": "baton", "scope": "inference offline", "redirect_uri": "http://localhost/cb",
        "account": {"name": "signed in", "base_url": house.upstream.url()},
    });
    let started = house.admin().post("/oauth/start", &start).await.status(201).json();
    let page = started["authorize_url"].as_str().expect("a page");
    let query = page.split_once('?').expect("a query").1;
    let query: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    assert_eq!(query["response_type"], "code");
    assert_eq!(query["code_challenge_method"], "S256");
    assert_eq!(query["scope"], "inference offline");
    assert_eq!(started["state"], json!(query["state"]));

    let finish = json!({"state": query["state"], "code": "code-1"});
    let account = house.admin().post("/oauth/finish", &finish).await.ok().json();
    assert_eq!((&account["name"], &account["status"]), (&json!("signed in"), &json!("ready")));
    let told = endpoint.last();
    assert_eq!((&told["code"], &told["redirect_uri"]), (&json!("code-1"), &start["redirect_uri"]));
    let verifier = told["code_verifier"].as_str().expect("a verifier");
    assert!(verifier.len() >= 43 && !page.contains(verifier), "the page has its hash only");

    house.key("ci").create().await.ask("hi").await.ok();
    assert_eq!(credential(&house.upstream).as_deref(), Some("Bearer at-1"));
    let twice = house.admin().post("/oauth/finish", &finish).await.status(400);
    assert!(twice.message().contains("/oauth/start"));
}

#[tokio::test]
async fn an_identity_from_a_file_is_exchanged_and_no_secret_is_stored() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().to_str().expect("its name");
    let house =
        TestSystem::launched(LaunchOptions::new().env("BATON_IDENTITY_TOKEN_DIR", at)).await;
    let endpoint = FakeTokenEndpoint::start();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{IDENTITY}\n")).expect("the identity");
    let credential = json!({
        "type": "workload_identity", "token_url": endpoint.url(), "federation_rule_id": "fdrl_1",
        "organization_id": "0", "service_account_id": "svac_1", "identity_token_file": file,
    });
    house.account_with("main", &house.upstream.url(), json!({"credential": credential})).await;
    house.key("ci").create().await.ask("hi").await.ok();
    let told = endpoint.last();
    assert_eq!(told["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(told["assertion"], IDENTITY);
    assert_eq!(told["service_account_id"], "svac_1");
    assert_eq!(told.get("workspace_id"), None);
}

#[tokio::test]
async fn impossible_sign_in_is_refused_immediately() {
    let house = TestSystem::open().await;
    let check = async |credential: Value, expect: &str| {
        let body = json!({"name": "x", "base_url": house.upstream.url(), "credential": credential});
        let said = house.admin().post("/accounts", &body).await.status(400).message();
        assert!(said.contains(expect), "{said}");
    };
    let base = json!({"type": "oauth2", "token_url": "https://example.com/t", "client_id": "b"});
    check(base.clone(), "refresh_token").await;
    let mut ftp = base;
    ftp["token_url"] = json!("ftp://example.com");
    ftp["refresh_token"] = json!("r");
    check(ftp, "token_url").await;
    let id = house.account("static", &house.upstream.url()).await;
    let refused = house.admin().post(&format!("/accounts/{id}/refresh"), &json!({})).await;
    assert!(refused.status(400).message().contains("static key"));
}

#[tokio::test]
async fn an_account_that_cannot_be_made_is_refused_before_anybody_signs_in() {
    let house = TestSystem::empty().await;
    let refused = async |account: Value| {
        let start = json!({
            "authorization_url": "http://127.0.0.1:9/authorize", "token_url": "http://127.0.0.1:9/t",
            "client_id": "baton", "redirect_uri": "http://localhost/cb", "account": account,
        });
        house.admin().post("/oauth/start", &start).await.status(400).message()
    };
    for (fields, why) in [
        (json!({"name": "x", "base_url": "ftp://example.com"}), "`base_url`"),
        (json!({"name": "x", "groups": ["grp_none"]}), "grp_none"),
        (json!({"name": "x", "max_concurrency": 0}), "`max_concurrency`"),
        (json!({"name": "x", "provider": "bedrock"}), "`base_url` is missing"),
        (json!({"base_url": house.upstream.url()}), "`name`"),
        (json!({"name": "x", "credential": {"type": "api_key", "value": "v"}}), "`credential`"),
    ] {
        let said = refused(fields).await;
        assert!(said.contains(why), "{said}");
    }
}
