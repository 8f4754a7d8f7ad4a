//! Secrets in AWS Secrets Manager: a new value works without a deployment or a restart.

use baton_test_harness::eventually::eventually;
use baton_test_harness::lambda::{FunctionProcess, LambdaDeployment, WITHOUT_HURRY, event};
use baton_test_harness::secrets_manager::FakeSecretsManager;
use baton_test_harness::system::SOON;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

const ARN: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:";

/// A deployment whose secrets are in Secrets Manager and are read again after 0.1 seconds.
async fn deployment() -> (LambdaDeployment, FakeSecretsManager, Vec<(String, String)>) {
    let (cloud, manager) = (LambdaDeployment::open().await, FakeSecretsManager::start().await);
    let mut variables = cloud.variables();
    variables.retain(|(name, _)| name != "BATON_ADMIN_TOKEN" && name != "BATON_KEY_PEPPER");
    for (name, value) in [
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", manager.url.clone()),
        ("BATON_KEY_PEPPER_ARN", format!("{ARN}pepper")),
        ("BATON_ADMIN_TOKEN_ARN", format!("{ARN}token")),
        ("BATON_SESSION_SECRET_ARN", format!("{ARN}session")),
        ("BATON_SECRET_SECONDS", "0.1".to_owned()),
    ] {
        variables.push((name.to_owned(), value));
    }
    manager.put(&format!("{ARN}pepper"), "pepper-one-0123456789");
    manager.put(&format!("{ARN}token"), "token-one-0123456789");
    manager.put(&format!("{ARN}session"), "session-one-0123456789");
    (cloud, manager, variables)
}

async fn status(admin: &FunctionProcess, token: &str, path: &str) -> u16 {
    let authorization = format!("Bearer {token}");
    let event = event::request("GET", path, &[("authorization", &authorization)], "");
    admin.request(&event, WITHOUT_HURRY).await.status
}

async fn post(admin: &FunctionProcess, token: &str, path: &str, body: Value) -> Value {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    let event = event::request("POST", path, &headers, &body.to_string());
    admin.request(&event, WITHOUT_HURRY).await.status(201).json()
}

#[tokio::test]
async fn rotated_admin_token_replaces_the_old_one() {
    let (_cloud, manager, variables) = deployment().await;
    let admin = FunctionProcess::start("admin", &variables).await;
    let keys = "/api/v1/keys";
    assert_eq!(status(&admin, "token-one-0123456789", keys).await, 200);
    assert_eq!(status(&admin, "token-two-0123456789", keys).await, 401);
    manager.put(&format!("{ARN}token"), "token-two-0123456789");
    eventually("the new token is valid", SOON, async || {
        match status(&admin, "token-two-0123456789", keys).await {
            200 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(
        status(&admin, "token-one-0123456789", keys).await,
        401,
        "the old token is still valid"
    );

    // A cached value stays valid while Secrets Manager fails.
    manager.fail(true);
    let before = manager.calls();
    eventually("Secrets Manager is asked again", SOON, async || {
        assert_eq!(status(&admin, "token-two-0123456789", keys).await, 200);
        if manager.calls() > before { Ok(()) } else { Err(before) }
    })
    .await;
    assert_eq!(status(&admin, "token-two-0123456789", keys).await, 200);
}

#[tokio::test]
async fn keys_of_the_previous_pepper_stay_valid() {
    let (cloud, manager, variables) = deployment().await;
    let admin = FunctionProcess::start("admin", &variables).await;
    let relay = FunctionProcess::start("relay", &variables).await;
    let token = "token-one-0123456789";
    let account = json!({
        "name": "main", "provider": "anthropic", "base_url": cloud.upstream.url(),
        "credential": {"type": "api_key", "value": "sk-upstream-main"},
    });
    post(&admin, token, "/api/v1/accounts", account).await;
    let new_key = async |name: &str| {
        let key = post(&admin, token, "/api/v1/keys", json!({"name": name})).await;
        key["secret"].as_str().expect("a secret").to_owned()
    };
    let old = new_key("old").await;
    LambdaDeployment::ask(&relay, &old, "hi", WITHOUT_HURRY).await.finish().await.ok();
    manager.put(&format!("{ARN}pepper"), "pepper-two-0123456789");
    let (before, tries) = (manager.calls(), AtomicU32::new(0));
    // When a new key works at the relay, both functions have the new pepper.
    eventually("a key under the new pepper", SOON, async || {
        let key = new_key(&format!("new {}", tries.fetch_add(1, Ordering::Relaxed))).await;
        let answer = LambdaDeployment::ask(&relay, &key, "hi", WITHOUT_HURRY).await.finish().await;
        let is_good = answer.status == 200 && manager.calls() > before + 4;
        if is_good { Ok(()) } else { Err((answer.status, manager.calls())) }
    })
    .await;
    LambdaDeployment::ask(&relay, &old, "hi", WITHOUT_HURRY).await.finish().await.ok();
}

/// The test needs several threads because waiting for the end of a program blocks one.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_secret_is_named_at_start() {
    let (_cloud, manager, variables) = deployment().await;
    manager.fail(true);
    for name in ["relay", "admin"] {
        let ended = FunctionProcess::spawn(name, &variables).await.ended();
        assert_eq!(ended.code, Some(1), "{name}");
        let arn = format!("{ARN}pepper");
        assert!(ended.stderr.contains(&arn), "{name}: {}", ended.stderr);
        assert!(!ended.stderr.contains("pepper-one"), "{name}: {}", ended.stderr);
    }
}
