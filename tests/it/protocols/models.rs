//! Model names: each client lists the models of all accounts of its group in its own format, and
//! any account that has the model, under any name, can serve it.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::eventually::eventually;
use baton_test_harness::system::{SOON, TestSystem};
use serde_json::{Value, json};

use crate::protocols::{CLIENTS, KINDS, TestClient};

fn ids(list: &Value) -> Vec<&str> {
    let data = list["data"].as_array().expect("a list");
    data.iter().filter_map(|model| model["id"].as_str()).collect()
}

#[tokio::test]
async fn openai_client_gets_openai_model_list() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let ask = async |path: &str| {
        let request = system.request("GET", path).bearer_auth(&key.secret);
        ClientResponse::to(request).await.ok().json()
    };
    let list = ask("/v1/models").await;
    assert_eq!(list["object"], "list", "{list}");
    assert!(ids(&list).contains(&"claude-opus-5-5"), "{list}");
    assert!(list["data"].as_array().unwrap().iter().all(|model| model["object"] == "model"));
    let one = ask("/v1/models/claude-opus-5-5").await;
    assert_eq!((&one["object"], &one["id"]), (&json!("model"), &json!("claude-opus-5-5")));

    let list = key.get("/v1/models").await.ok().json();
    assert_eq!(list["first_id"], "claude-opus-5-5", "{list}");
}

/// All keys share a list for some minutes, so it must not depend on the headers of the first one.
#[tokio::test]
async fn model_list_does_not_depend_on_headers_of_clients() {
    let system = TestSystem::open().await;
    let (first, second) = (system.key("a").create().await, system.key("b").create().await);
    let request = first.request("GET", "/v1/models");
    let request = request.header("x-request-id", "of-the-first").header("x-custom", "first");
    let list = ClientResponse::to(request.header("anthropic-beta", "first-2026")).await.ok();
    let called = system.upstream.last().request;
    assert_eq!(called.path(), "/v1/models");
    assert!(called.header("user-agent").is_some_and(|value| value.starts_with("baton/")));
    for name in ["x-request-id", "x-custom", "anthropic-beta", "accept"] {
        assert!(called.header(name).is_none_or(|value| value == "*/*"), "{name}");
    }
    let calls = system.upstream.exchanges().len();
    for path in ["/v1/models", "/v1/models/claude-opus-5-5"] {
        let response = second.get(path).await.ok();
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.header("request-id"), None, "the id of the first call");
        assert!(response.header("x-baton-request-id").is_some());
        if path == "/v1/models" {
            assert_eq!(response.text(), list.text());
            assert_eq!(system.upstream.exchanges().len(), calls, "from the cache");
        }
    }
}

#[tokio::test]
async fn model_list_contains_both_vendors() {
    let system = TestSystem::open().await;
    let group = system.group("both").await;
    let url = system.upstream.url();
    let claude = json!({"groups": [group], "models": ["claude-opus-*"]});
    system.account_with("claude", &url, claude).await;
    let other = json!({"groups": [group], "models": ["*haiku*"], "provider": "openai_compatible"});
    let other = system.account_with("other", &url, other).await;
    let key = system.key("both").group(&group).create().await;
    let tested = system.admin().post(&format!("/accounts/{other}/test"), &json!({})).await.ok();
    assert_eq!(tested.json()["ok"], Value::Null, "it takes any credential: {}", tested.text());
    let expect =
        ["claude-haiku-4-5-20251001", "claude-haiku-5-5", "claude-opus-4-8", "claude-opus-5-5"];

    let list = key.get("/v1/models").await.ok().json();
    assert_eq!(ids(&list), expect);
    assert_eq!(list["data"][0]["type"], "model", "{list}");
    let request = system.request("GET", "/v1/models").bearer_auth(&key.secret);
    let list = ClientResponse::to(request).await.ok().json();
    assert_eq!(ids(&list), expect);
    assert_eq!(list["data"][3]["object"], "model", "{list}");
}

#[tokio::test]
async fn websocket_upgrade_gets_426() {
    let system = TestSystem::open().await;
    let key = system.key("ci").create().await;
    let request = system.request("GET", "/v1/responses").bearer_auth(&key.secret);
    ClientResponse::to(request).await.status(426);
}

#[tokio::test]
async fn group_alias_maps_the_model() {
    let system = TestSystem::empty().await;
    let group = system.group("aliases").await;
    system.account_with("a", &system.upstream.url(), json!({"groups": [group]})).await;
    let key = system.key("a").group(&group).create().await;
    let aliases = json!({"model_aliases": {"gpt-*": "claude-haiku-5-5"}});
    let shown = system.admin().patch(&format!("/groups/{group}"), &aliases).await.ok().json();
    assert_eq!(shown["model_aliases"], aliases["model_aliases"]);
    let mut body = TestClient::Chat.body("hi", false);
    body["model"] = "gpt-5.5".into();
    let answer = eventually("the alias", SOON, async || {
        let answer = TestClient::Chat.send(&key, &body, false).await.ok();
        let is_served = system.upstream.last().request.json()["model"] == "claude-haiku-5-5";
        if is_served { Ok(answer) } else { Err(answer.text()) }
    })
    .await;
    assert_eq!(answer.json()["model"], "gpt-5.5", "the answer has the requested name");
    eventually("an event", SOON, async || {
        let events = system.events(&key).await;
        let is_expected =
            |e: &&Value| e["model"] == "gpt-5.5" && e["upstream_model"] == "claude-haiku-5-5";
        if events.iter().any(|e| is_expected(&e)) { Ok(()) } else { Err(events) }
    })
    .await;
}

#[tokio::test]
async fn account_model_map_renames_the_model() {
    let system = TestSystem::empty().await;
    for kind in KINDS {
        let name = format!("{kind:?}");
        let group = system.group(&name).await;
        let served = "us.anthropic.claude-opus-4-8-v1:0";
        let map = json!({"claude-sonnet-*": served, "*": "nothing"});
        let fields = json!({"groups": [group], "model_map": map});
        kind.account(&system, &name, &system.upstream.url(), fields).await;
        let key = system.key(&name).group(&group).create().await;
        for (number, client) in CLIENTS.into_iter().enumerate() {
            let answer = client.ask(&key, "hi", false).await.ok();
            let request = system.upstream.last().request;
            let is_mapped = request.path().contains("claude-opus-4-8-v1%3A0")
                || request.json()["model"] == served;
            assert!(is_mapped, "{name} {client:?} {}", request.path());
            let events = system.events_of(&key, number + 1).await;
            let event = events.iter().find(|event| event["protocol"] == client.protocol());
            let event = event.unwrap_or_else(|| panic!("{name} {client:?} {events:?}"));
            let requested = event["model"].as_str().unwrap_or_default();
            assert!(requested.contains("claude-sonnet-5-5"), "{name} {client:?} {event}");
            let upstream = event["upstream_model"].as_str().unwrap_or_default();
            assert!(upstream.contains("claude-opus-4-8"), "{name} {client:?} {}", answer.text());
        }
    }
}
