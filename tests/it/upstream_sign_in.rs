//! Accounts with short-lived tokens, from creation by an operator to the requests of clients.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::eventually::eventually;
use baton_test_harness::system::TestSystem;
use baton_test_harness::token_endpoint::{EndpointFault, FakeTokenEndpoint};
use baton_test_harness::upstream::FakeUpstream;
use serde_json::{Value, json};

/// A text in the form of a signed JWT.
const IDENTITY: &str = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln";
const SOON: Duration = Duration::from_secs(20);

fn oauth2(endpoint: &FakeTokenEndpoint) -> Value {
    json!({
        "type": "oauth2", "token_url": endpoint.url(), "client_id": "baton",
        "client_secret": "cs-secret", "refresh_token": "rt-0",
    })
}

/// The credential of the last request to the upstream.
fn credential(upstream: &FakeUpstream) -> Option<String> {
    upstream.last().request.header("authorization").map(str::to_owned)
}

#[tokio::test]
async fn request_waits_for_first_token() {
    let (system, endpoint) = (TestSystem::empty().await, FakeTokenEndpoint::start());
    system
        .account_with("main", &system.upstream.url(), json!({"credential": oauth2(&endpoint)}))
        .await;
    let key = system.key("ci").create().await;
    key.ask("hi").await.ok();
    assert_eq!(credential(&system.upstream).as_deref(), Some("Bearer at-1"));
    let beta = system.upstream.last().request.header("anthropic-beta").map(str::to_owned);
    assert_eq!(beta.as_deref(), Some("oauth-2025-04-20"));
    assert!(system.upstream.last().request.header("x-api-key").is_none());
    assert_eq!(endpoint.last()["client_secret"], "cs-secret");
    key.ask("again").await.ok();
    assert_eq!(endpoint.issued(), 1, "one token serves many requests");
}

#[tokio::test]
async fn client_secret_basic_sends_secret_in_header() {
    let (system, endpoint) = (TestSystem::empty().await, FakeTokenEndpoint::start());
    let credential = json!({
        "type": "oauth2", "token_url": endpoint.url(), "client_id": "baton",
        "client_secret": "cs-secret", "token_endpoint_auth_method": "client_secret_basic",
    });
    system.account_with("main", &system.upstream.url(), json!({"credential": credential})).await;
    system.key("ci").create().await.ask("hi").await.ok();
    let last = endpoint.last();
    // printf baton:cs-secret | base64
    assert_eq!(last["authorization"], "Basic YmF0b246Y3Mtc2VjcmV0");
    assert_eq!(last["grant_type"], "client_credentials");
    assert!(last.get("client_secret").is_none() && last.get("client_id").is_none(), "{last}");
}

#[tokio::test]
async fn failing_sign_in_fails_over() {
    let (system, endpoint) = (TestSystem::open().await, FakeTokenEndpoint::start());
    for _ in 0..50 {
        endpoint.next(EndpointFault::Unavailable);
    }
    let fields = json!({"credential": oauth2(&endpoint), "priority": 1});
    let id = system.account_with("first", &system.upstream.url(), fields).await;
    let key = system.key("ci").create().await;
    key.ask("hi").await.ok();
    assert_eq!(credential(&system.upstream), None, "the other account has a static key");
    let account = system.admin().get(&format!("/accounts/{id}")).await.ok().json();
    assert_eq!(account["status"], "ready", "a failing endpoint disabled the account");
}

#[tokio::test]
async fn refused_token_is_renewed_and_request_fails_over() {
    let (system, endpoint) = (TestSystem::open().await, FakeTokenEndpoint::start());
    let bearer = FakeUpstream::start();
    let fields = json!({"credential": oauth2(&endpoint), "priority": 1});
    let id = system.account_with("first", &bearer.url(), fields).await;
    // The scheduled refresh can run at the same time.
    refresh_now(&system, &format!("/accounts/{id}")).await.ok();
    let issued = endpoint.issued();
    bearer.next("status:401");
    let key = system.key("ci").create().await;
    key.ask("hi").await.ok();
    let renewed =
        async || if endpoint.issued() == issued + 1 { Ok(()) } else { Err(endpoint.issued()) };
    eventually("a new token", SOON, renewed).await;
    eventually("the account is ready again", SOON, async || {
        let account = system.admin().get(&format!("/accounts/{id}")).await.ok().json();
        if account["status"] == "ready" { Ok(()) } else { Err(account) }
    })
    .await;
    // The session that moved stays where it went. Another session still uses the first account.
    key.ask("hi from another session").await.ok();
    assert_eq!(bearer.exchanges_on("/v1/messages").len(), 2, "the account is not used again");
}

#[tokio::test]
async fn refused_token_of_only_account_is_renewed_and_retried() {
    let (system, endpoint) = (TestSystem::empty().await, FakeTokenEndpoint::start());
    let fields = json!({"credential": oauth2(&endpoint)});
    let id = system.account_with("only", &system.upstream.url(), fields).await;
    let key = system.key("ci").create().await;
    key.ask("hi").await.ok();
    let issued = endpoint.issued();
    system.upstream.next("status:401");
    key.ask("the token is refused now").await.ok();
    assert_eq!(endpoint.issued(), issued + 1);
    assert_eq!(system.upstream.exchanges_on("/v1/messages").len(), 3);
    // Later requests are served as well.
    key.ask("hi").await.ok();
    let account = system.admin().get(&format!("/accounts/{id}")).await.ok().json();
    assert_eq!(account["status"], "ready", "{account}");
    // An upstream that always refuses does not cost a new token each time.
    system.upstream.next("status:401");
    key.ask("hi").await;
    assert!(endpoint.issued() <= issued + 2, "{}", endpoint.issued());
}

#[tokio::test]
async fn refused_grant_is_shown_until_new_credential() {
    let (system, endpoint) = (TestSystem::empty().await, FakeTokenEndpoint::start());
    // The scheduled refresh can come first.
    (0..10).for_each(|_| endpoint.next(EndpointFault::Refuses));
    let fields = json!({"credential": oauth2(&endpoint)});
    let id = system.account_with("main", &system.upstream.url(), fields).await;
    let path = format!("/accounts/{id}");
    let refused = refresh_now(&system, &path).await;
    refused.status(400);
    let account = system.admin().get(&path).await.ok().json();
    assert_eq!(account["status"], "auth_failed", "{account}");
    assert!(account["status_reason"].as_str().is_some_and(|why| why.contains("invalid_grant")));
    let again = json!({"credential": {"type": "oauth2", "token_url": endpoint.url(),
        "client_id": "baton", "refresh_token": "rt-new"}});
    endpoint.recovers();
    system.admin().patch(&path, &again).await.ok();
    refresh_now(&system, &path).await.ok();
    assert_eq!(system.admin().get(&path).await.ok().json()["status"], "ready");
}

/// Asks for a new token. Waits while another process renews it.
async fn refresh_now(system: &TestSystem, path: &str) -> ClientResponse {
    eventually("no other process renews the token", SOON, async || {
        let answer = system.admin().post(&format!("{path}/refresh"), &json!({})).await;
        if answer.status == 409 { Err(answer.text()) } else { Ok(answer) }
    })
    .await
}

#[tokio::test]
async fn account_signs_in_with_browser() {
    let (system, endpoint) = (TestSystem::empty().await, FakeTokenEndpoint::start());
    let start = json!({
        "authorization_url": "http://127.0.0.1:9/authorize", "token_url": endpoint.url(),
        "client_id": "baton", "scope": "inference offline", "redirect_uri": "http://localhost/cb",
        "account": {"name": "signed in", "base_url": system.upstream.url()},
    });
    let started = system.admin().post("/oauth/start", &start).await.status(201).json();
    let page = started["authorize_url"].as_str().expect("a page");
    let query = page.split_once('?').expect("a query").1;
    let query: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    assert_eq!(query["response_type"], "code");
    assert_eq!(query["code_challenge_method"], "S256");
    assert_eq!(query["scope"], "inference offline");
    assert_eq!(started["state"], json!(query["state"]));

    let finish = json!({"state": query["state"], "code": "code-1"});
    let account = system.admin().post("/oauth/finish", &finish).await.ok().json();
    assert_eq!((&account["name"], &account["status"]), (&json!("signed in"), &json!("ready")));
    let request = endpoint.last();
    assert_eq!(
        (&request["code"], &request["redirect_uri"]),
        (&json!("code-1"), &start["redirect_uri"])
    );
    let verifier = request["code_verifier"].as_str().expect("a verifier");
    assert!(verifier.len() >= 43 && !page.contains(verifier), "the page contains the verifier");

    system.key("ci").create().await.ask("hi").await.ok();
    assert_eq!(credential(&system.upstream).as_deref(), Some("Bearer at-1"));
    let twice = system.admin().post("/oauth/finish", &finish).await.status(400);
    assert!(twice.message().contains("/oauth/start"));
}

#[tokio::test]
async fn workload_identity_from_file_is_exchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().to_str().expect("its name");
    let system = TestSystem::builder().env("BATON_IDENTITY_TOKEN_DIR", at).start().await;
    let endpoint = FakeTokenEndpoint::start();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{IDENTITY}\n")).expect("the identity");
    let credential = json!({
        "type": "workload_identity", "token_url": endpoint.url(), "federation_rule_id": "fdrl_1",
        "organization_id": "0", "service_account_id": "svac_1", "identity_token_file": file,
    });
    system.account_with("main", &system.upstream.url(), json!({"credential": credential})).await;
    system.key("ci").create().await.ask("hi").await.ok();
    let request = endpoint.last();
    assert_eq!(request["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(request["assertion"], IDENTITY);
    assert_eq!(request["service_account_id"], "svac_1");
    assert_eq!(request.get("workspace_id"), None);
}

#[tokio::test]
async fn impossible_sign_in_is_refused_immediately() {
    let system = TestSystem::open().await;
    let check = async |credential: Value, expect: &str| {
        let body =
            json!({"name": "x", "base_url": system.upstream.url(), "credential": credential});
        let message = system.admin().post("/accounts", &body).await.status(400).message();
        assert!(message.contains(expect), "{message}");
    };
    let base = json!({"type": "oauth2", "token_url": "https://example.com/t", "client_id": "b"});
    check(base.clone(), "refresh_token").await;
    let mut ftp = base;
    ftp["token_url"] = json!("ftp://example.com");
    ftp["refresh_token"] = json!("r");
    check(ftp, "token_url").await;
    let id = system.account("static", &system.upstream.url()).await;
    let refused = system.admin().post(&format!("/accounts/{id}/refresh"), &json!({})).await;
    assert!(refused.status(400).message().contains("static key"));
}

#[tokio::test]
async fn invalid_account_is_refused_before_sign_in() {
    let system = TestSystem::empty().await;
    let refused = async |account: Value| {
        let start = json!({
            "authorization_url": "http://127.0.0.1:9/authorize", "token_url": "http://127.0.0.1:9/t",
            "client_id": "baton", "redirect_uri": "http://localhost/cb", "account": account,
        });
        system.admin().post("/oauth/start", &start).await.status(400).message()
    };
    for (fields, why) in [
        (json!({"name": "x", "base_url": "ftp://example.com"}), "`base_url`"),
        (json!({"name": "x", "groups": ["grp_none"]}), "grp_none"),
        (json!({"name": "x", "max_concurrency": 0}), "`max_concurrency`"),
        (json!({"name": "x", "provider": "bedrock"}), "`base_url` is missing"),
        (json!({"base_url": system.upstream.url()}), "`name`"),
        (json!({"name": "x", "credential": {"type": "api_key", "value": "v"}}), "`credential`"),
    ] {
        let message = refused(fields).await;
        assert!(message.contains(why), "{message}");
    }
}
