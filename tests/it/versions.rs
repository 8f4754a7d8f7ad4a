//! Concurrent changes: a stale version is refused, and a repeated POST creates nothing twice.

use std::collections::BTreeSet;

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{OperatorClient, TestSystem};
use futures_util::future::join_all;
use serde_json::{Value, json};

async fn with(
    admin: &OperatorClient,
    header: (&str, &str),
    call: (&str, &str),
    body: &Value,
) -> ClientResponse {
    let request = admin.request(call.0, call.1).header("content-type", "application/json");
    ClientResponse::to(request.header(header.0, header.1).body(body.to_string())).await
}

async fn post_once(admin: &OperatorClient, key: &str, path: &str, body: &Value) -> ClientResponse {
    with(admin, ("idempotency-key", key), ("POST", path), body).await
}

#[tokio::test]
async fn stale_version_gets_412() {
    let system = TestSystem::open().await;
    let admin = system.admin();
    let user = admin.create("/users", &json!({"name": "Ada"})).await;
    let key = system.key("ci").create().await;
    let account = admin.get("/accounts").await.ok().json()["data"][0]["id"].clone();
    let group = system.group("team").await;
    for path in [
        format!("/users/{user}"),
        format!("/keys/{}", key.id),
        format!("/accounts/{}", account.as_str().expect("an id")),
        format!("/groups/{group}"),
    ] {
        let read = admin.get(&path).await.ok();
        assert_eq!(read.header("etag"), Some("\"1\""), "{path}");
        let first = json!({"name": "first"});
        let first = with(&admin, ("if-match", "\"1\""), ("PATCH", &path), &first).await.ok();
        assert_eq!(first.header("etag"), Some("\"2\""), "{path}");
        let late = json!({"name": "late"});
        let late = with(&admin, ("if-match", "\"1\""), ("PATCH", &path), &late).await;
        let message = late.refused(412, "conflict_error").message();
        assert!(message.contains("\"2\"") && message.contains("read it again"), "{message}");
        let gone = with(&admin, ("if-match", "\"1\""), ("DELETE", &path), &json!({})).await;
        gone.refused(412, "conflict_error");
        assert_eq!(admin.get(&path).await.ok().json()["name"], "first");
        let gone = with(&admin, ("if-match", "\"1\", \"2\""), ("DELETE", &path), &json!({})).await;
        gone.status(204);
    }
}

#[tokio::test]
async fn repeated_post_gets_stored_response() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    let keys = async || admin.get("/keys").await.ok().json()["data"].as_array().map(Vec::len);
    let before = keys().await.expect("a list");
    let body = json!({"name": "ci"});
    let first = post_once(&admin, "k-1", "/keys", &body).await.status(201);
    let again = post_once(&admin, "k-1", "/keys", &body).await.status(201);
    assert_eq!(again.json(), first.json(), "the responses differ");
    assert_eq!(
        (first.header("idempotent-replayed"), again.header("idempotent-replayed")),
        (None, Some("true"))
    );
    assert_eq!(keys().await, Some(before + 1));

    let other = post_once(&admin, "k-1", "/keys", &json!({"name": "other"})).await;
    other.refused(422, "invalid_request_error");
    post_once(&admin, "k-1", "/groups", &body).await.refused(422, "invalid_request_error");
    post_once(&admin, "k-2", "/keys", &json!({"name": "ci 2"})).await.status(201);
    assert_eq!(keys().await, Some(before + 2), "another idempotency key creates another resource");
    post_once(&admin, &"x".repeat(256), "/keys", &body).await.refused(400, "invalid_request_error");

    let id = first.json()["id"].as_str().expect("an id").to_owned();
    let rotate = format!("/keys/{id}/rotate");
    let first = post_once(&admin, "r", &rotate, &json!({})).await.ok().json();
    assert_eq!(post_once(&admin, "r", &rotate, &json!({})).await.ok().json(), first);
    // A refused request is not stored, so the key can be used again.
    post_once(&admin, "bad", "/keys", &json!({})).await.refused(400, "invalid_request_error");
    post_once(&admin, "bad", "/keys", &json!({"name": "ci 3"})).await.status(201);
}

#[tokio::test]
async fn concurrent_posts_create_one_resource() {
    let system = TestSystem::empty().await;
    let admin = system.admin();
    let body = json!({"name": "ci"});
    let posts = (0..8).map(|_| post_once(&admin, "race", "/keys", &body));
    let answers = join_all(posts).await;
    let made: BTreeSet<String> = answers.into_iter().map(|a| a.status(201).text()).collect();
    assert_eq!(made.len(), 1, "{made:?}");
}

#[tokio::test]
async fn repeated_post_after_restart_gets_stored_response() {
    let mut system = TestSystem::empty().await;
    let body = json!({"name": "ci"});
    let first = post_once(&system.admin(), "k", "/keys", &body).await.status(201).json();
    let launch = system.process().again();
    system.process().kill();
    let process = launch.start_process().await;
    let admin = OperatorClient::at(process.admin, &process.admin_token);
    assert_eq!(post_once(&admin, "k", "/keys", &body).await.status(201).json(), first);
}
