//! Failures with translation: before the first event another account is tried, after it the client
//! gets an error in its protocol.

use baton_test_harness::client_response::ClientResponse;
use baton_test_harness::system::{TestKey, TestSystem};
use baton_test_harness::upstream::{BEDROCK_KEY, FakeUpstream};
use futures_util::future::join_all;

use crate::protocols::{AccountKind, CLIENTS, KINDS, TestClient, key, pairs};

/// Each kind of account, with the kind that the request fails over to.
const MOVES: [(AccountKind, AccountKind); 4] = [
    (AccountKind::Anthropic, AccountKind::Openai),
    (AccountKind::Openai, AccountKind::Bedrock),
    (AccountKind::OpenaiResponses, AccountKind::Anthropic),
    (AccountKind::Bedrock, AccountKind::Anthropic),
];

/// Sends requests to a failing account of the first kind and expects the answer of the second one.
/// `failures` returns the failures of the first account, each with whether the client requests a
/// stream.
async fn assert_failover(failures: impl Fn(AccountKind) -> Vec<(&'static str, bool)>) {
    let system = TestSystem::empty().await;
    let failing = FakeUpstream::start();
    let mut keys = Vec::new();
    for (first, then) in MOVES {
        for client in CLIENTS {
            for (scenario, stream) in failures(first) {
                let name = format!("{client:?}-{first:?}-{scenario}");
                let accounts = [(first, &*failing.url()), (then, &*system.upstream.url())];
                let key = key(&system, &name, &accounts).await;
                failing.next(scenario);
                let answer = client.ask(&key, "hi", stream).await.ok();
                assert!(
                    client.answer_text(&answer).starts_with("Hello"),
                    "{name} {}",
                    answer.text()
                );
                keys.push((name, key, then));
            }
        }
    }
    join_all(keys.iter().map(async |(name, key, then)| {
        let event = system.events_of(key, 1).await.remove(0);
        assert_eq!(event["provider"], then.provider(), "{name} {event}");
        assert_eq!(event["attempts"], 2, "{name} {event}");
    }))
    .await;
    system.summary_equals(&system.upstream.ledger().total()).await;
}

#[tokio::test]
async fn failover_works_across_protocols() {
    assert_failover(|_| vec![("status:500", false), ("status:429", true), ("cut:0", true)]).await;
}

#[tokio::test]
async fn error_as_first_event_fails_over() {
    assert_failover(|kind| match kind {
        AccountKind::Anthropic | AccountKind::Bedrock => {
            vec![("first_error:overloaded_error", true)]
        }
        AccountKind::Openai | AccountKind::OpenaiResponses => {
            vec![("first_error:server_error", true)]
        }
    })
    .await;
}

#[tokio::test]
async fn first_error_without_other_account_has_client_protocol() {
    let (system, mut keys) = (TestSystem::empty().await, Vec::new());
    for (client, kind) in pairs() {
        let pair = format!("{client:?}-{kind:?}");
        let key = key(&system, &pair, &[(kind, &system.upstream.url())]).await;
        system.upstream.next("first_error:server_error;say=out of order");
        let answer = client.ask(&key, "hi", true).await.status(200);
        assert_eq!(client.error(&answer).1, "out of order", "{pair}");
        keys.push((pair, key));
    }
    assert_upstream_errors(&system, &keys).await;
}

/// Waits for the only event of each key, whose outcome must be an upstream error.
async fn assert_upstream_errors(system: &TestSystem, keys: &[(String, TestKey)]) {
    join_all(keys.iter().map(async |(name, key)| {
        let event = system.events_of(key, 1).await.remove(0);
        assert_eq!(event["outcome"], "upstream_error", "{name} {event}");
    }))
    .await;
}

#[tokio::test]
async fn upstream_error_keeps_status_and_message() {
    let system = TestSystem::empty().await;
    let words = "prompt is too long: 9 tokens > 8 maximum";
    for (client, kind) in pairs() {
        let pair = format!("{client:?}-{kind:?}");
        let key = key(&system, &pair, &[(kind, &system.upstream.url())]).await;
        for stream in [false, true] {
            system.upstream.next(&format!("status:400;say={words}"));
            let answer = client.ask(&key, "hi", stream).await.status(400);
            assert_eq!(client.error(&answer).1, words, "{pair}");
        }
    }
}

#[tokio::test]
async fn broken_stream_error_has_client_protocol() {
    let (system, mut keys) = (TestSystem::empty().await, Vec::new());
    for (client, kind) in pairs() {
        let pair = format!("{client:?}-{kind:?}");
        let key = key(&system, &pair, &[(kind, &system.upstream.url())]).await;
        system.upstream.next("cut:5");
        let answer = client.ask(&key, "hi", true).await.status(200);
        let (_, message) = client.error(&answer);
        assert!(message.len() > 5, "{pair} {message}");
        assert!(!client.is_ended(&answer), "{pair}\n{}", answer.text());
        keys.push((pair, key));
    }
    assert_upstream_errors(&system, &keys).await;
}

#[tokio::test]
async fn untranslatable_request_is_a_free_400() {
    let system = TestSystem::empty().await;
    let key = key(&system, "n", &[(AccountKind::Anthropic, &system.upstream.url())]).await;
    let mut body = TestClient::Chat.body("hi", false);
    body["n"] = 2.into();
    let answer = TestClient::Chat.send(&key, &body, false).await.status(400);
    assert_eq!(TestClient::Chat.error(&answer).0, "invalid_request_error");
    assert!(system.upstream.exchanges().is_empty());
    TestClient::Chat.ask(&key, "hi", false).await.ok();
    system.events_of(&key, 1).await;
}

#[tokio::test]
async fn error_with_status_200_gets_its_own_status() {
    let system = TestSystem::empty().await;
    let key = key(&system, "html", &[(AccountKind::Openai, &system.upstream.url())]).await;
    system.upstream.next("status:200;say=an error that is none");
    let answer = TestClient::Messages.ask(&key, "hi", false).await.status(400);
    assert_eq!(TestClient::Messages.error(&answer).0, "invalid_request_error");
    let events = system.events_of(&key, 1).await;
    assert_eq!(events[0]["outcome"], "upstream_error", "{}", events[0]);
}

#[tokio::test]
async fn token_counts_go_to_capable_accounts() {
    let system = TestSystem::empty().await;
    let other = FakeUpstream::start();
    let body = TestClient::Messages.body("hi", false).to_string();
    for (number, counts) in [AccountKind::Anthropic, AccountKind::Bedrock].into_iter().enumerate() {
        let accounts = [(AccountKind::Openai, &*other.url()), (counts, &*system.upstream.url())];
        let key = key(&system, &format!("{counts:?}"), &accounts).await;
        let request = key.request("POST", "/v1/messages/count_tokens").body(body.clone());
        ClientResponse::to(request).await.ok();
        assert_eq!(system.upstream.ledger().count_tokens, number as u64 + 1);
    }
    let only = key(&system, "none", &[(AccountKind::Openai, &other.url())]).await;
    let request = only.request("POST", "/v1/messages/count_tokens").body(body);
    let refused = ClientResponse::to(request).await.refused(501, "api_error");
    assert_eq!(refused.header("x-should-retry"), Some("false"), "a retry cannot succeed");
    assert!(refused.message().contains("cannot count tokens"), "{}", refused.text());
    assert!(other.exchanges().is_empty());
}

#[tokio::test]
async fn each_vendor_gets_its_own_headers_only() {
    let system = TestSystem::empty().await;
    for kind in KINDS {
        for client in [TestClient::Messages, TestClient::Chat, TestClient::Responses] {
            let name = format!("{client:?}-{kind:?}");
            let key = key(&system, &name, &[(kind, &system.upstream.url())]).await;
            let request = key
                .request("POST", &format!("{}?beta=true", client.route(false)))
                .header("anthropic-beta", "some-2026")
                .header("openai-organization", "org")
                .header("x-stainless-lang", "python");
            ClientResponse::to(request.body(client.body("hi", false).to_string())).await.ok();
            let request = system.upstream.last().request;
            let is_anthropic = kind == AccountKind::Anthropic;
            assert_eq!(request.header("anthropic-beta").is_some(), is_anthropic, "{name}");
            assert_eq!(request.header("anthropic-version").is_some(), is_anthropic, "{name}");
            assert_eq!(
                request.header("openai-organization"),
                None,
                "the client's organization went upstream"
            );
            assert_eq!(request.header("x-stainless-lang"), Some("python"));
            let credential = if is_anthropic { "x-api-key" } else { "authorization" };
            let sent = request.header(credential).unwrap_or_default();
            let own = if kind == AccountKind::Bedrock { BEDROCK_KEY } else { "sk-upstream-" };
            assert!(sent.contains(own), "{name} {sent}");
            assert!(!format!("{:?}", request.headers).contains(&key.secret));
        }
    }
}
