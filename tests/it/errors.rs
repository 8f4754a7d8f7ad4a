//! The errors of Baton itself: each status and type, and no request goes upstream.

use std::net::TcpListener;

use baton_runtime::clock::Clock;
use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{MODEL, SOON, TestKey, TestSystem, message};
use jiff::SignedDuration;
use serde_json::json;

fn hi() -> String {
    message(MODEL, "hi", false).to_string()
}

async fn with_credential(system: &TestSystem, credential: &str) -> ClientResponse {
    ClientResponse::to(
        system.request("POST", "/v1/messages").header("x-api-key", credential).body(hi()),
    )
    .await
}

#[track_caller]
fn assert_not_retried(answer: &ClientResponse) {
    assert_eq!(answer.header("x-should-retry"), Some("false"), "{}", answer.text());
}

#[tokio::test]
async fn invalid_key_gets_401_without_retry() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let request = system.request("POST", "/v1/messages").body(hi());
    assert_not_retried(&ClientResponse::to(request).await.refused(401, "authentication_error"));

    let mut broken = key.secret.clone();
    let last = if broken.pop() == Some('0') { '1' } else { '0' };
    broken.push(last);
    let mut unknown = key.secret.clone().into_bytes();
    unknown[5] = if unknown[5] == b'0' { b'1' } else { b'0' };
    let unknown = String::from_utf8(unknown).expect("text");
    for credential in [&broken, &unknown, "sk-ant-api03-something", "bt_", ""] {
        let answer =
            with_credential(&system, credential).await.refused(401, "authentication_error");
        assert_not_retried(&answer);
        assert!(
            credential.len() < 4 || !answer.text().contains(credential),
            "the answer contains the credential"
        );
    }
    assert_eq!(system.upstream.exchanges().len(), 0, "a request went upstream");
}

/// The message says which kind of credential came, and which one is expected.
#[tokio::test]
async fn wrong_kind_of_credential_is_named() {
    let system = TestSystem::open().await;
    for (credential, expect) in [
        ("bta_0123456789", "it is an admin token"),
        ("bt_0123456789", "it is cut short or mistyped"),
        ("sk-ant-api03-something", "it is a credential of Anthropic"),
        ("sk-proj-something", "it is an API key of another vendor"),
        ("Bearer bt_0123456789", "the word `Bearer` belongs only into"),
        ("something", "A key begins with bt_"),
    ] {
        let answer = with_credential(&system, credential).await;
        let answer = answer.refused(401, "authentication_error");
        assert!(answer.message().contains(expect), "{credential}: {}", answer.message());
    }
    let key = system.key("ci").create().await;
    let request = system.request("POST", "/v1/messages").header("authorization", &key.secret);
    let answer = ClientResponse::to(request.body(hi())).await;
    let answer = answer.refused(401, "authentication_error");
    assert!(answer.message().contains("has no Bearer token"), "{}", answer.message());
}

#[tokio::test]
async fn disabled_and_expired_keys_have_different_messages() {
    let system = TestSystem::open().await;
    let disabled = system.key("off").with("enabled", false).create().await;
    let answer = disabled.ask("hi").await.refused(401, "authentication_error");
    assert_not_retried(&answer);
    assert!(answer.message().to_lowercase().contains("disabled"), "{}", answer.message());
    assert_eq!(system.upstream.exchanges().len(), 0);

    let soon = Clock::system().now() + SignedDuration::from_secs(1);
    let expired = system.key("old").with("expires_at", soon.to_string()).create().await;
    let answer = eventually("the key expires", SOON, async || {
        let answer = expired.ask("hi").await;
        if answer.status == 401 { Ok(answer) } else { Err(answer.status) }
    });
    let answer = answer.await.refused(401, "authentication_error");
    assert_not_retried(&answer);
    assert!(answer.message().to_lowercase().contains("expired"), "{}", answer.message());
}

#[tokio::test]
async fn key_disabled_later_gets_401() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    key.ask("hi").await.ok();
    let path = format!("/keys/{}", key.id);
    system.admin().patch(&path, &json!({"enabled": false})).await.ok();
    baton_test_harness::eventually::eventually(
        "refused",
        baton_test_harness::system::SOON,
        async || {
            let answer = key.ask("hi").await;
            if answer.status == 401 { Ok(()) } else { Err(answer.status) }
        },
    )
    .await;
}

#[tokio::test]
async fn model_outside_key_list_gets_403() {
    let system = TestSystem::open().await;
    let key = system.key("haiku").models(&["claude-haiku-*"]).create().await;
    key.ask_model("claude-haiku-5-5", "hi").await.ok();
    let answer = key.ask_model(MODEL, "hi").await.refused(403, "permission_error");
    assert_not_retried(&answer);
    assert!(answer.message().contains(MODEL), "{}", answer.message());
    assert_eq!(system.upstream.exchanges().len(), 1);
}

#[tokio::test]
async fn invalid_body_gets_400() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    for body in ["{", "", "[]", "\"text\"", r#"{"messages":[]}"#, r#"{"model":7,"messages":[]}"#] {
        let answer = ClientResponse::to(key.message(body)).await;
        assert_not_retried(&answer.refused(400, "invalid_request_error"));
    }
    assert_eq!(system.upstream.exchanges().len(), 0);
}

#[tokio::test]
async fn unknown_route_gets_404_and_wrong_method_405() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    assert_not_retried(&key.get("/v1/nothing").await.refused(404, "not_found_error"));
    assert_not_retried(&key.get("/nothing").await.refused(404, "not_found_error"));
    let answer = key.get("/v1/messages").await.refused(405, "invalid_request_error");
    assert_not_retried(&answer);
    assert_eq!(answer.header("allow"), Some("POST"));
    let request = key.request("DELETE", "/v1/models").body("");
    let answer = ClientResponse::to(request).await.refused(405, "invalid_request_error");
    assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET")));
}

#[tokio::test]
async fn unreachable_upstream_gets_502() {
    let system = TestSystem::empty().await;
    let closed =
        TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr().expect("its number");
    let key = system.private_key(&format!("http://{closed}")).await;
    key.ask("hi").await.refused(502, "api_error");
    key.ask_whole("hi").await;
}

#[tokio::test]
async fn connection_lost_before_response_head_gets_502() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    system.upstream.next("cut:0");
    key.ask_whole("hi").await.refused(502, "api_error");
}

#[tokio::test]
async fn group_without_accounts_gets_503() {
    let system = TestSystem::open().await;
    let group = system.group("empty").await;
    let key = system.key("ci").group(&group).create().await;
    let answer = key.ask("hi").await.refused(503, "api_error");
    assert!(answer.message().contains("account"), "{}", answer.message());
}

#[tokio::test]
async fn failover_is_invisible_to_client() {
    let system = TestSystem::open().await;
    system.account("second", &system.upstream.url()).await;
    let key = system.key("ci").create().await;
    system.upstream.next("error:overloaded");
    let answer = key.ask("hi").await.ok();
    assert!(answer.said().starts_with("Hello"));
    let credentials: Vec<String> = system
        .upstream
        .exchanges()
        .iter()
        .filter_map(|e| e.request.header("x-api-key").map(str::to_owned))
        .collect();
    assert_eq!(credentials.len(), 2);
    assert_ne!(credentials[0], credentials[1], "the same account was tried twice");
}

#[tokio::test]
async fn websocket_upgrade_gets_426() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let request = key
        .request("GET", "/v1/responses")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    ClientResponse::to(request).await.status(426);
}

#[tokio::test]
async fn public_routes_need_no_key_or_upstream() {
    let system = TestSystem::empty().await;
    for (method, path) in
        [("HEAD", "/"), ("HEAD", "/api/hello"), ("GET", "/api/hello"), ("GET", "/health")]
    {
        ClientResponse::to(system.request(method, path)).await.status(200);
    }
    assert_eq!(system.upstream.exchanges().len(), 0);
}

#[tokio::test]
async fn model_list_and_token_count_work() {
    let system = TestSystem::open().await;
    let key: TestKey = system.key("haiku").models(&["claude-haiku-*"]).create().await;
    let list = key.get("/v1/models?limit=1000").await.ok().json();
    let ids: Vec<&str> =
        list["data"].as_array().expect("data").iter().filter_map(|m| m["id"].as_str()).collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| id.starts_with("claude-haiku-")), "{ids:?}");
    key.get(&format!("/v1/models/{}", ids[0])).await.ok();

    let request = key.request("POST", "/v1/messages/count_tokens");
    let body = message("claude-haiku-5-5", "hi", false).to_string();
    let counted = ClientResponse::to(request.body(body)).await.ok();
    assert_eq!(counted.body, system.upstream.last().sent);
}
